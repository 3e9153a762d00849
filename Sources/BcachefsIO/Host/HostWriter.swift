// SPDX-License-Identifier: GPL-2.0
// Making files of every kind beneath a directory of the host, never through a symbolic link.
//
// How it works
//   1. Everything is made relative to an open directory, by one name without a slash. What has the
//      name already is removed first, unless it is a directory; a file is made with O_EXCL, so
//      nobody's link is written through and nobody's file is written to.
//   2. Owners come first, since they clear bits and capabilities; then attributes, while the mode
//      still allows them; then the mode; then the times, which every other change would move.
// Invariants
//   (1) No symbolic link is followed, nothing outside the open directory is made or changed.
//   (2) A file has its modification time only when it is complete: an interrupted one can be told.
// Locks: none.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// What a file shall have besides its contents.
public struct HostAttributes: Sendable {
  /// Permissions with the set-user-id, set-group-id and sticky bits; nil leaves them.
  public var permissions: UInt32?
  /// Owner and group; nil leaves them.
  public var owner: (uid: UInt32, gid: UInt32)?
  /// Nanoseconds since 1970.
  public var accessTime: Int64
  public var modificationTime: Int64
  public var xattrs: [HostXattr]

  public init(
    permissions: UInt32?, owner: (uid: UInt32, gid: UInt32)?, accessTime: Int64,
    modificationTime: Int64, xattrs: [HostXattr] = []
  ) {
    self.permissions = permissions
    self.owner = owner
    self.accessTime = accessTime
    self.modificationTime = modificationTime
    self.xattrs = xattrs
  }

  fileprivate var times: [timespec] { [Self.time(accessTime), Self.time(modificationTime)] }

  private static func time(_ nanoseconds: Int64) -> timespec {
    var (seconds, fraction) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    if fraction < 0 {
      seconds -= 1
      fraction += 1_000_000_000
    }
    return timespec(tv_sec: Int(seconds), tv_nsec: Int(fraction))
  }
}

// MARK: - Making

extension HostDirectory {
  /// Makes the child directory `name`, for its owner only, or takes the one that is there.
  ///
  /// - Throws: `.notADirectory` if something else has the name, a link to a directory too;
  ///   `.system`.
  public func makeDirectory(_ name: [UInt8]) throws(HostError) -> HostDirectory {
    do throws(HostError) {
      try unsafe make(name) { unsafe mkdirat($0, $1, 0o700) }
    } catch {
      guard error.reason == .system(EEXIST) else { throw error }
    }
    return try directory(name)
  }

  /// Makes the regular file `name`, empty, for its owner only; what has the name is removed.
  ///
  /// - Throws: `.system(EISDIR)` if a directory has the name; `.invalidName`, `.system`.
  public func makeFile(_ name: [UInt8]) throws(HostError) -> HostNewFile {
    if let file = try makeFileIfAbsent(name) { return file }
    try remove(name)
    guard let file = try makeFileIfAbsent(name) else {
      throw error(.create, .system(EEXIST), name.span)
    }
    return file
  }

  /// The same, but nil if anything has the name, which stays.
  ///
  /// - Throws: `.invalidName`, `.system`.
  public func makeFileIfAbsent(_ name: [UInt8]) throws(HostError) -> HostNewFile? {
    let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
    var opened: Int32 = -1
    do throws(HostError) {
      try unsafe make(name) { directory, text in
        opened = unsafe openat(directory, text, flags, 0o600)
        return opened < 0 ? -1 : 0
      }
    } catch {
      guard error.reason == .system(EEXIST) else { throw error }
      return nil
    }
    return HostNewFile(
      path: path.appending(name), tree: tree, descriptor: HostDescriptor(number: opened))
  }

  /// Makes the symbolic link `name`; what has the name is removed.
  public func makeSymbolicLink(_ name: [UInt8], target: [UInt8]) throws(HostError) {
    try remove(name)
    let text = target.map { CChar(bitPattern: $0) } + [0]
    try unsafe make(name) { unsafe symlinkat(text, $0, $1) }
  }

  /// Makes a FIFO, socket or device node; what has the name is removed.
  ///
  /// - Throws: `.system(EPERM)` for device nodes without the right to make them.
  public func makeNode(
    _ name: [UInt8], kind: HostStat.Kind, major: UInt32 = 0, minor: UInt32 = 0
  ) throws(HostError) {
    try remove(name)
    let (major, minor) = (UInt64(major), UInt64(minor))
    // The bits of both numbers as the C library packs them.
    let device =
      (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12
      | minor & 0xff
    try unsafe make(name) { unsafe mknodat($0, $1, kind.rawValue | 0o600, dev_t(device)) }
  }

  /// Makes `name` a further name of `other` in `directory`; what has the name is removed, unless it
  /// is that file.
  public func makeLink(
    _ name: [UInt8], to other: [UInt8], in directory: HostDirectory
  ) throws(HostError) {
    let wanted = try directory.stat(of: other)
    if let found = try statIfPresent(name), found.device == wanted.device,
      found.inode == wanted.inode
    {
      return
    }
    try remove(name)
    let text = other.map { CChar(bitPattern: $0) } + [0]
    let from = directory.descriptor.number
    try unsafe make(name) { unsafe linkat(from, text, $0, $1, 0) }
  }

  /// Removes the child `name`, if there is one and it is no directory.
  ///
  /// - Throws: `.system(EISDIR)` for a directory; `.invalidName`, `.system`.
  public func remove(_ name: [UInt8]) throws(HostError) {
    let directory = descriptor.number
    let number = unsafe withComponent(name.span) { text in
      unsafe unlinkat(directory, text, 0) == 0 ? 0 : errno
    }
    switch number {
    case 0, ENOENT: return
    case nil: throw error(.remove, .invalidName, name.span)
    case EPERM:
      // What POSIX wants said of directories; Linux says EISDIR.
      throw error(.remove, .system(EPERM), name.span)
    case .some(let number): throw error(.remove, .system(number), name.span)
    }
  }

  /// The state of the child `name`, nil if there is none.
  public func statIfPresent(_ name: [UInt8]) throws(HostError) -> HostStat? {
    do throws(HostError) {
      return try stat(of: name)
    } catch {
      if error.reason == .vanished { return nil }
      throw error
    }
  }

  private func make(
    _ name: [UInt8], _ call: (Int32, UnsafePointer<CChar>) -> Int32
  ) throws(HostError) {
    let directory = descriptor.number
    let number = unsafe withComponent(name.span) { text in
      unsafe call(directory, text) == 0 ? 0 : errno
    }
    guard let number else { throw error(.create, .invalidName, name.span) }
    if number != 0 { throw error(.create, .system(number), name.span) }
  }
}

// MARK: - Attributes

extension HostDirectory {
  /// Gives the child `name`, which is no regular file and no directory, what it shall have; a link
  /// is not followed and has no permissions.
  ///
  /// - Returns: The extended attributes that could not be set, and why.
  public func setAttributes(
    _ attributes: HostAttributes, of name: [UInt8], isLink: Bool
  ) throws(HostError) -> [HostError] {
    let directory = descriptor.number
    let text = name.map { CChar(bitPattern: $0) } + [0]
    if let owner = attributes.owner,
      unsafe fchownat(directory, text, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) != 0
    {
      throw error(.setOwner, .system(errno), name.span)
    }
    var failures: [HostError] = []
    for xattr in attributes.xattrs {
      let key = xattr.name.map { CChar(bitPattern: $0) } + [0]
      let result = unsafe linux_xattr_set(directory, text, key, xattr.value, xattr.value.count)
      if result != 0 {
        failures.append(error(.setXattr, .system(-result), name.span, detail: xattr.name))
      }
    }
    if let permissions = attributes.permissions, !isLink,
      unsafe fchmodat(directory, text, permissions, AT_SYMLINK_NOFOLLOW) != 0
    {
      throw error(.setMode, .system(errno), name.span)
    }
    if unsafe utimensat(directory, text, attributes.times, AT_SYMLINK_NOFOLLOW) != 0 {
      throw error(.setTimes, .system(errno), name.span)
    }
    return failures
  }

  /// Gives the directory itself what it shall have.
  ///
  /// - Returns: The extended attributes that could not be set, and why.
  public func setAttributes(_ attributes: HostAttributes) throws(HostError) -> [HostError] {
    try descriptor.apply(attributes, to: path, in: tree)
  }
}

extension HostDescriptor {
  /// Sets all attributes of an open file.
  fileprivate func apply(
    _ attributes: HostAttributes, to path: HostPath, in tree: HostTree
  ) throws(HostError) -> [HostError] {
    if let owner = attributes.owner, fchown(number, owner.uid, owner.gid) != 0 {
      throw tree.error(.setOwner, .system(errno), path)
    }
    var failures: [HostError] = []
    for xattr in attributes.xattrs {
      let key = xattr.name.map { CChar(bitPattern: $0) } + [0]
      let result = unsafe linux_xattr_set(number, "", key, xattr.value, xattr.value.count)
      if result != 0 {
        failures.append(tree.error(.setXattr, .system(-result), path, detail: xattr.name))
      }
    }
    if let permissions = attributes.permissions, fchmod(number, permissions) != 0 {
      throw tree.error(.setMode, .system(errno), path)
    }
    if unsafe futimens(number, attributes.times) != 0 {
      throw tree.error(.setTimes, .system(errno), path)
    }
    return failures
  }
}

// MARK: - Contents

/// A file that is being made. It belongs to one thread at a time; closed when it is released.
public final class HostNewFile: Sendable {
  /// Its path in the tree.
  public let path: HostPath
  private let tree: HostTree
  private let descriptor: HostDescriptor

  init(path: HostPath, tree: HostTree, descriptor: consuming HostDescriptor) {
    self.path = path
    self.tree = tree
    self.descriptor = descriptor
  }

  /// Writes `bytes` at `offset`; what nobody writes is a hole.
  ///
  /// - Throws: `.system` (ENOSPC, EDQUOT, EFBIG, EIO).
  public func write(_ bytes: RawSpan, atByte offset: UInt64) throws(HostError) {
    let number = descriptor.number
    let reason: HostError.Reason? = unsafe bytes.withUnsafeBytes { buffer in
      guard let start = Int64(exactly: offset), Int64.max - start >= Int64(buffer.count) else {
        return .system(EFBIG)
      }
      var done = 0
      while done < buffer.count {
        let count = unsafe pwrite(
          number, buffer.baseAddress?.advanced(by: done), buffer.count - done,
          off_t(start) + done)
        if count > 0 {
          done += count
        } else if count == 0 {
          return .system(EIO)
        } else if errno != EINTR {
          return .system(errno)
        }
      }
      return nil
    }
    if let reason { throw tree.error(.write, reason, path) }
  }

  /// Sets the size; what is added reads as zeros.
  public func setByteCount(_ byteCount: UInt64) throws(HostError) {
    guard let size = Int64(exactly: byteCount) else {
      throw tree.error(.write, .system(EFBIG), path)
    }
    if ftruncate(descriptor.number, off_t(size)) != 0 {
      throw tree.error(.write, .system(errno), path)
    }
  }

  /// Gives the file what it shall have; nothing is written after that.
  ///
  /// - Returns: The extended attributes that could not be set, and why.
  public func setAttributes(_ attributes: HostAttributes) throws(HostError) -> [HostError] {
    try descriptor.apply(attributes, to: path, in: tree)
  }
}
