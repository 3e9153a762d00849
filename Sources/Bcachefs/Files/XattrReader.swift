// SPDX-License-Identifier: GPL-2.0
// Extended attributes of files, by name and as lists, as Linux shows them.
//
// How it works
//   1. An attribute is looked for from the hash of its kind and name on, until it is found or a
//      place is empty, as names in directories are.
//   2. A list walks all keys of the inode, in hash order, which is also that of listxattr.
//   3. ACLs stand under kinds of their own without a name, in a form of their own.
// Invariants
//   (1) A lookup stops at the first hole.
// Locks: none.
// Source: xattr.c (bch2_xattr_get_trans, bch2_xattr_list), acl.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// The names that Linux gives to attributes, and what stands for them on disk.
enum XattrName {
  private static let accessList = Array("system.posix_acl_access".utf8)
  private static let defaultList = Array("system.posix_acl_default".utf8)
  private static let prefixes: [(type: UInt8, prefix: [UInt8])] =
    [Xattr.Kind.user, Xattr.Kind.trusted, Xattr.Kind.security].map { type in
      (type, Xattr.prefix(type).map { Array("\($0)".utf8) } ?? [])
    }

  /// The kind of a name and what is stored of it, nil for one that no volume can hold.
  static func split(_ name: [UInt8]) -> (type: UInt8, rest: [UInt8])? {
    if name == accessList { return (Xattr.Kind.aclAccess, []) }
    if name == defaultList { return (Xattr.Kind.aclDefault, []) }
    for (type, prefix) in prefixes where name.starts(with: prefix) && name.count > prefix.count {
      return (type, Array(name.dropFirst(prefix.count)))
    }
    return nil
  }

  /// The whole name, nil for a kind that is not known.
  static func join(_ type: UInt8, _ rest: RawSpan) -> [UInt8]? {
    switch type {
    case Xattr.Kind.aclAccess: return accessList
    case Xattr.Kind.aclDefault: return defaultList
    default:
      guard let found = prefixes.first(where: { $0.type == type }) else { return nil }
      return found.prefix + rest.copiedBytes
    }
  }
}

/// Reads the attributes of inodes in one snapshot.
struct XattrReader {
  private let forest: BTreeForest
  private let snapshot: UInt32
  private let table: SnapshotTable

  init(_ forest: BTreeForest, snapshot: UInt32, table: SnapshotTable) {
    self.forest = forest
    self.snapshot = snapshot
    self.table = table
  }

  /// The value of an attribute, nil if the inode does not have it.
  func value(of name: [UInt8], _ inode: Inode) throws(VolumeError) -> [UInt8]? {
    guard let (type, rest) = XattrName.split(name) else { return nil }
    var place = NameHash(inode).xattr(type: type, rest.span)
    var cursor = cursor()
    cursor.seek(inode.number, place)
    while let found = try cursor.next(), found.key.position.offset == place {
      if found.key.type == .xattr {
        let value = try found.decoded { (bytes) throws(FormatError) -> [UInt8]? in
          let xattr = try Xattr(decoding: bytes)
          guard xattr.type == type, xattr.name.elementsEqual(rest) else { return nil }
          return try Self.linuxForm(xattr.value.copiedBytes, type)
        }
        if let value { return value }
      }
      guard place < .max else { break }
      place += 1
    }
    return nil
  }

  /// All attributes of an inode, in hash order.
  func all(_ inode: Inode) throws(VolumeError) -> [(name: [UInt8], value: [UInt8])] {
    var result: [(name: [UInt8], value: [UInt8])] = []
    var cursor = cursor()
    cursor.seek(inode.number, 0)
    while let found = try cursor.next() {
      guard found.key.type == .xattr else { continue }
      let pair = try found.decoded {
        (bytes) throws(FormatError) -> (name: [UInt8], value: [UInt8])? in
        let xattr = try Xattr(decoding: bytes)
        guard let name = XattrName.join(xattr.type, xattr.name) else { return nil }
        return (name, try Self.linuxForm(xattr.value.copiedBytes, xattr.type))
      }
      if let pair { result.append(pair) }
    }
    return result
  }

  private func cursor() -> SnapshotCursor {
    SnapshotCursor(forest, .xattrs, snapshot: snapshot, table: table)
  }

  /// The value as Linux hands it out.
  ///
  /// - Throws: `.invalid` for an ACL that is none.
  private static func linuxForm(_ value: [UInt8], _ type: UInt8) throws(FormatError) -> [UInt8] {
    guard type == Xattr.Kind.aclAccess || type == Xattr.Kind.aclDefault else { return value }
    guard let list = PosixACL.linuxForm(ofDisk: value) else {
      throw FormatError(
        .invalid, "bch_xattr", "acl", found: UInt64(value.count))
    }
    return list
  }
}
