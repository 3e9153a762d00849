// SPDX-License-Identifier: GPL-2.0
// Operations by paths below a folder, as a script has them, and comparisons of folders.

internal import Bcachefs
internal import BcachefsFormat
internal import FileModel

/// What a script does in a folder; with a umask of 027.
struct PathOperations {
  let files: FileSystem
  let top: FileID

  /// A list with users and groups of their own.
  static let grant: [(UInt16, UInt16, UInt32)] = [
    (1, 7, .max), (2, 6, 1000), (2, 4, 4_000_000_000), (4, 5, .max), (8, 3, 77), (16, 7, .max),
    (32, 4, .max),
  ]

  private func place(
    _ path: String
  ) throws(VolumeError) -> (parent: FileID, name: [UInt8]) {
    var parts = path.split(separator: "/").map { Array($0.utf8) }
    let name = parts.popLast() ?? []
    var parent = top
    for part in parts { parent = try files.lookup(part, in: parent).id }
    return (parent, name)
  }

  private func file(_ path: String) throws(VolumeError) -> FileID {
    let (parent, name) = try place(path)
    return try files.lookup(name, in: parent).id
  }

  private func create(
    _ path: String, _ kind: FileKind, _ mode: UInt16
  ) throws(VolumeError) {
    var creation = FileCreation(kind, permissions: mode)
    creation.umask = 0o027
    let (parent, name) = try place(path)
    _ = try files.create(name, in: parent, creation)
  }

  func mkdir(_ path: String, _ mode: UInt16) throws(VolumeError) {
    try create(path, .directory, mode)
  }

  func make(_ path: String, _ mode: UInt16) throws(VolumeError) {
    try create(path, .regular, mode)
  }

  func symlink(_ target: String, _ path: String) throws(VolumeError) {
    let (parent, name) = try place(path)
    _ = try files.makeLink(name, to: Array(target.utf8), in: parent)
  }

  func rmdir(_ path: String) throws(VolumeError) {
    let (parent, name) = try place(path)
    try files.removeDirectory(name, in: parent)
  }

  func unlink(_ path: String) throws(VolumeError) {
    let (parent, name) = try place(path)
    try files.unlink(name, in: parent)
  }

  func link(_ old: String, _ new: String) throws(VolumeError) {
    let (parent, name) = try place(new)
    _ = try files.link(file(old), as: name, in: parent)
  }

  func rename(
    _ old: String, _ new: String, _ flags: RenameFlags = []
  ) throws(VolumeError) {
    let (from, to) = (try place(old), try place(new))
    try files.rename(from.name, in: from.parent, to: to.name, in: to.parent, flags)
  }

  func set(
    _ path: String, _ name: String, _ value: String, _ condition: XattrCondition = .any
  ) throws(VolumeError) {
    try files.setXattr(Array(name.utf8), of: file(path), to: Array(value.utf8), condition)
  }

  func remove(_ path: String, _ name: String) throws(VolumeError) {
    try files.removeXattr(Array(name.utf8), of: file(path))
  }

  func acl(
    _ path: String, _ kind: String, _ entries: [(UInt16, UInt16, UInt32)]
  ) throws(VolumeError) {
    var bytes: [UInt8] = [2, 0, 0, 0]
    for entry in entries {
      let id = (UInt16(truncatingIfNeeded: entry.2), UInt16(truncatingIfNeeded: entry.2 >> 16))
      for word in [entry.0, entry.1, id.0, id.1] {
        bytes += [UInt8(truncatingIfNeeded: word), UInt8(word >> 8)]
      }
    }
    let name = Array("system.posix_acl_\(kind)".utf8)
    try files.setXattr(name, of: file(path), to: bytes)
  }

  private func change(
    _ path: String, _ body: (inout AttributeChange) -> Void
  ) throws(VolumeError) {
    var change = AttributeChange()
    body(&change)
    _ = try files.change(file(path), change)
  }

  func chmod(_ path: String, _ mode: UInt16) throws(VolumeError) {
    try change(path) { $0.permissions = mode }
  }

  func chown(_ path: String, _ uid: UInt32, _ gid: UInt32) throws(VolumeError) {
    try change(path) { ($0.uid, $0.gid) = (uid, gid) }
  }

  func chattr(_ path: String, _ flags: InodeFlags) throws(VolumeError) {
    try change(path) { $0.flags = flags }
  }

  /// What a system call says.
  static func errnoName(_ code: VolumeError.Code) -> String {
    switch code {
    case .notFound: "ENOENT"
    case .exists: "EEXIST"
    case .notADirectory: "ENOTDIR"
    case .isADirectory: "EISDIR"
    case .notEmpty: "ENOTEMPTY"
    case .crossSubvolume: "EXDEV"
    case .loop, .invalid: "EINVAL"
    case .notPermitted: "EPERM"
    case .accessDenied: "EACCES"
    case .noAttribute: "ENODATA"
    case .tooLarge: "ERANGE"
    default: "\(code)"
    }
  }
}

/// Two folders of one volume.
enum TreePair {
  /// Where the second is not what the first is: a line each. Times, inode numbers and contents are
  /// their own.
  static func differences(_ a: FileID, _ b: FileID, in files: FileSystem) throws -> [String] {
    var lines: [String] = []
    try compare(a, b, "", files, &lines)
    return lines
  }

  private static func compare(
    _ a: FileID, _ b: FileID, _ path: String, _ files: FileSystem, _ lines: inout [String]
  ) throws {
    let (first, second) = (try files.attributes(of: a), try files.attributes(of: b))
    func line(_ found: FileAttributes) -> String {
      "mode \(String(found.mode, radix: 8)), owner \(found.inode.uid), group \(found.inode.gid), "
        + "\(found.linkCount) links, \(found.byteCount) bytes, flags \(found.inode.flags), "
        + "set \(found.inode.fieldsSet)"
    }
    if line(first) != line(second) {
      lines.append("\(path): \(line(second)), not \(line(first))")
    }
    let (names, others) = (try files.allXattrs(of: a), try files.allXattrs(of: b))
    if names != others { lines.append("\(path): xattrs \(others), not \(names)") }
    guard first.kind == .directory else { return }
    let entries = try files.names(of: a)
    let there = Dictionary(uniqueKeysWithValues: try files.names(of: b).map { ($0.name, $0) })
    for entry in entries {
      guard let other = there[entry.name] else {
        lines.append("\(path)/\(entry.text): missing")
        continue
      }
      if entry.type != other.type { lines.append("\(path)/\(entry.text): type \(other.type)") }
      try compare(entry.id, other.id, "\(path)/\(entry.text)", files, &lines)
    }
    if entries.count != there.count { lines.append("\(path): \(there.count) names") }
  }
}
