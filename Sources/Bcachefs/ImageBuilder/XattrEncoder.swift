// SPDX-License-Identifier: GPL-2.0
// From the host's extended attributes to those of the volume: namespaces become numbers, ACLs get
// their on-disk form, names get their place.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct XattrEncoder: Sendable {
  private static let namespaces: [(prefix: [UInt8], type: UInt8)] = [
    ("user.", 0), ("trusted.", 3), ("security.", 4),
  ].map { (Array($0.0.utf8), UInt8($0.1)) }
  private static let accessACL = Array("system.posix_acl_access".utf8)
  private static let defaultACL = Array("system.posix_acl_default".utf8)

  /// The attributes of an inode in the order of the xattrs btree.
  ///
  /// - Parameter warnings: Gets a line for each attribute that a volume cannot hold by its nature
  ///   (other namespaces).
  /// - Throws: `.unrepresentable` for one that is too large.
  func records(
    _ xattrs: [HostXattr], for inode: Inode, path: String, warnings: inout [String]
  ) throws(ImageError) -> [XattrRecord] {
    let hash = NameHash(
      type: StringHashType(rawValue: inode.stringHash), seed: inode.hashSeed)
    var found: [XattrRecord] = []
    for xattr in xattrs {
      guard let (type, name, value) = diskForm(xattr) else {
        warnings.append("\(path): the attribute \(text(xattr.name)) is of no kind that is kept")
        continue
      }
      let words = Xattr.encodedU64s(nameByteCount: name.count, valueByteCount: value.count)
      guard words <= BKey.maxValueU64s else {
        throw .unrepresentable(
          path: path,
          reason: "the attribute \(text(xattr.name)) of \(value.count) bytes is too large: name "
            + "and value together have room for about \(BKey.maxValueU64s * 8 - 4) bytes")
      }
      found.append(
        XattrRecord(slot: hash.xattr(type: type, name.span), type: type, name: name, value: value))
    }
    found.sort { ($0.slot, $0.type, $0.name.count) < ($1.slot, $1.type, $1.name.count) }
    let slots = NameHash.slots(forSorted: found.map(\.slot))
    return zip(found, slots).map {
      XattrRecord(slot: $1, type: $0.type, name: $0.name, value: $0.value)
    }
  }

  private func diskForm(
    _ xattr: HostXattr
  ) -> (type: UInt8, name: [UInt8], value: [UInt8])? {
    if xattr.name == Self.accessACL || xattr.name == Self.defaultACL {
      return PosixACL.diskForm(ofLinux: xattr.value).map {
        (xattr.name == Self.accessACL ? 1 : 2, [], $0)
      }
    }
    for (prefix, type) in Self.namespaces where xattr.name.starts(with: prefix) {
      return (type, Array(xattr.name.dropFirst(prefix.count)), xattr.value)
    }
    return nil
  }

  private func text(_ name: [UInt8]) -> String { String(decoding: name, as: UTF8.self) }
}
