// SPDX-License-Identifier: GPL-2.0
// One open directory of the host: its children's names and states, and the way to each of them.
//
// How it works
//   1. Everything is asked relative to the descriptor: a path of any length costs the same, and a
//      directory renamed meanwhile stays the one that was opened.
//   2. Names come by getdents64 in blocks, are kept in one array and sorted; states come by one
//      statx each.
//   3. A child's state is taken before it is opened, and compared with the open file's state after
//      it was read: two calls prove that what was read is what was listed.
// Invariants
//   (1) No symbolic link is followed.
//   (2) `names()` lists from the beginning, whoever listed before: `listing` is held meanwhile, as
//       the position in a directory belongs to the descriptor.
// Locks: `listing`, a leaf; nothing else is called under it but the kernel.

internal import CLinuxShims
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// A name in a directory, and the state of what it names.
public struct HostEntry: Sendable {
  public let name: [UInt8]
  public let stat: HostStat
}

/// An open directory. Any thread may use it; it takes one descriptor until it is released.
public final class HostDirectory: Sendable {
  /// Its path in the tree.
  public let path: HostPath
  let tree: HostTree
  let descriptor: HostDescriptor
  private let listing = Mutex<Void>(())

  /// What one getdents64 call may fill.
  private static let blockByteCount = 1 << 15

  init(tree: HostTree, path: HostPath, descriptor: consuming HostDescriptor) {
    self.tree = tree
    self.path = path
    self.descriptor = descriptor
  }

  /// The path of the child `name` as errors tell it, with the tree's own before it; without a name
  /// the directory's.
  public func wholePath(of name: [UInt8] = []) -> [UInt8] {
    tree.wholePath(name.isEmpty ? path : path.appending(name))
  }

  /// The directory's own state.
  public func stat() throws(HostError) -> HostStat {
    switch unsafe HostStat.get(descriptor.number, "") {
    case .success(let stat): return stat
    case .failure(let reason): throw tree.error(.examine, reason, path)
    }
  }

  /// The names of all children but `.` and `..`, sorted by their bytes.
  ///
  /// - Throws: `.system`, `.vanished` (it was removed), `.malformedListing`.
  /// - Complexity: a call for each 32 KiB of kernel records and one more; memory is 24 bytes a
  ///   name and the name itself.
  public func names() throws(HostError) -> HostNames {
    var names = HostNames()
    if let reason = readNames(into: &names) { throw tree.error(.list, reason, path) }
    names.sort()
    return names
  }

  private func readNames(into names: inout HostNames) -> HostError.Reason? {
    listing.withLock { _ in
      guard lseek(descriptor.number, 0, SEEK_SET) >= 0 else { return .init(errno: errno) }
      return unsafe withUnsafeTemporaryAllocation(
        byteCount: Self.blockByteCount, alignment: 8
      ) { block in
        while true {
          let count = unsafe linux_directory_read(
            descriptor.number, block.baseAddress, block.count)
          if count < 0 { return .init(errno: Int32(-count)) }
          if count == 0 { return nil }
          guard count <= block.count else { return .malformedListing }
          let filled = unsafe UnsafeRawBufferPointer(rebasing: block[..<Int(count)])
          guard unsafe names.append(kernelRecords: filled) else { return .malformedListing }
        }
      }
    }
  }

  /// All children but `.` and `..` with their states, sorted by name. For directories of millions
  /// of files take `names()`, and `stat(of:)` as far as needed.
  ///
  /// - Throws: As `names()` and `stat(of:)`: `.vanished` if a child is removed meanwhile.
  /// - Complexity: one call more than `names()` for each child.
  public func entries() throws(HostError) -> [HostEntry] {
    let names = try names()
    var entries: [HostEntry] = []
    entries.reserveCapacity(names.count)
    for index in names.indices {
      let name = names.name(at: index)
      entries.append(HostEntry(name: Self.copy(name), stat: try stat(of: name)))
    }
    return entries
  }

  private static func copy(_ name: Span<UInt8>) -> [UInt8] {
    unsafe name.withUnsafeBufferPointer { unsafe Array($0) }
  }

  // MARK: - Children

  /// The state of the child `name`, itself if it is a symbolic link.
  ///
  /// - Throws: `.vanished`, `.invalidName`, `.system`.
  public func stat(of name: Span<UInt8>) throws(HostError) -> HostStat {
    let result = unsafe withComponent(name) { unsafe HostStat.get(descriptor.number, $0) }
    switch result {
    case .success(let stat): return stat
    case .failure(let reason): throw error(.examine, reason, name)
    case nil: throw error(.examine, .invalidName, name)
    }
  }

  /// Opens the child directory `name`.
  ///
  /// - Throws: `.vanished`, `.notADirectory` (also for a link), `.invalidName`, `.system`.
  public func directory(_ name: Span<UInt8>) throws(HostError) -> HostDirectory {
    let child = try openReading(name, isDirectory: true)
    return HostDirectory(
      tree: tree, path: path.appending(name), descriptor: HostDescriptor(number: child))
  }

  /// Opens the child `name` to read its contents: it should be a regular file.
  ///
  /// Neither the access time is touched, where the kernel allows that to the caller, nor is a FIFO
  /// waited for.
  ///
  /// - Throws: `.vanished`, `.symbolicLink`, `.notARegularFile` (a socket; others only when they
  ///   are read), `.invalidName`, `.system`.
  public func file(_ name: Span<UInt8>) throws(HostError) -> HostFile {
    let child = try openReading(name, isDirectory: false)
    return HostFile(
      directory: path, name: Self.copy(name), tree: tree,
      descriptor: HostDescriptor(number: child))
  }

  private func openReading(
    _ name: Span<UInt8>, isDirectory: Bool
  ) throws(HostError) -> Int32 {
    let result = unsafe withComponent(name) {
      unsafe linux_open_reading(descriptor.number, $0, isDirectory ? 1 : 0)
    }
    guard let result else { throw error(.open, .invalidName, name) }
    guard result >= 0 else { throw error(.open, .init(errno: -result), name) }
    return result
  }

  /// The target of the symbolic link `name`: bytes as they are.
  ///
  /// - Throws: `.vanished`, `.invalidName`, `.changedWhileReading(.kind)` if it is no link,
  ///   `.system`.
  public func readLink(_ name: Span<UInt8>) throws(HostError) -> [UInt8] {
    var capacity = 4096
    while true {
      var target: [UInt8] = []
      let result = unsafe withComponent(name) { name in
        let (bytes, count) = unsafe Self.target(of: name, in: descriptor.number, capacity)
        target = bytes
        return count
      }
      guard let count = result else { throw error(.readLink, .invalidName, name) }
      if count == -Int(EINVAL) { throw error(.readLink, .changedWhileReading(.kind), name) }
      guard count >= 0 else { throw error(.readLink, .init(errno: Int32(-count)), name) }
      if count < capacity { return target }
      // No filesystem has longer targets than this; the loop must end nevertheless.
      guard capacity < 1 << 20 else { throw error(.readLink, .system(ENAMETOOLONG), name) }
      capacity *= 4
    }
  }

  private static func target(
    of name: UnsafePointer<CChar>, in descriptor: Int32, _ capacity: Int
  ) -> ([UInt8], Int) {
    unsafe withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { buffer in
      guard let base = buffer.baseAddress else { return ([], -Int(ENOMEM)) }
      let text = unsafe base.bindMemory(to: CChar.self, capacity: capacity)
      let count = unsafe readlinkat(descriptor, name, text, capacity)
      guard count >= 0 else { return ([], -Int(errno)) }
      return unsafe (Array(buffer[..<count]), count)
    }
  }

  @inline(never)
  func error(
    _ operation: HostError.Operation, _ reason: HostError.Reason, _ name: Span<UInt8>,
    detail: [UInt8] = []
  ) -> HostError {
    tree.error(operation, reason, path.appending(name), detail: detail)
  }
}

// MARK: - Names as arrays

extension HostDirectory {
  /// `stat(of:)` of a name in an array.
  public func stat(of name: [UInt8]) throws(HostError) -> HostStat { try stat(of: name.span) }

  /// `directory(_:)` of a name in an array.
  public func directory(_ name: [UInt8]) throws(HostError) -> HostDirectory {
    try directory(name.span)
  }

  /// `file(_:)` of a name in an array.
  public func file(_ name: [UInt8]) throws(HostError) -> HostFile { try file(name.span) }

  /// `readLink(_:)` of a name in an array.
  public func readLink(_ name: [UInt8]) throws(HostError) -> [UInt8] { try readLink(name.span) }

  /// `xattrs(of:)` of a name in an array.
  public func xattrs(of name: [UInt8]) throws(HostError) -> [HostXattr] {
    try xattrs(of: name.span)
  }
}
