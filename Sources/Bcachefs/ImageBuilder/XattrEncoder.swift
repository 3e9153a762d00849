// SPDX-License-Identifier: GPL-2.0
// From the host's extended attributes to those of the volume: namespaces become numbers, ACLs get
// their on-disk form, names get their place.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct XattrEncoder: Sendable {
  /// The attributes of an inode in the order of the xattrs btree.
  ///
  /// - Parameter warnings: Gets a line for each attribute that a volume cannot hold by its nature
  ///   (other namespaces).
  /// - Throws: `.unrepresentable` for one that is too large.
  func records(
    _ xattrs: [HostXattr], for inode: Inode, path: String, warnings: inout [String]
  ) throws(ImageError) -> [XattrRecord] {
    let hash = NameHash(inode)
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
    guard let (type, name) = XattrName.split(xattr.name) else { return nil }
    guard type == Xattr.Kind.aclAccess || type == Xattr.Kind.aclDefault else {
      return (type, name, xattr.value)
    }
    return PosixACL.diskForm(ofLinux: xattr.value).map { (type, name, $0) }
  }

  private func text(_ name: [UInt8]) -> String { String(decoding: name, as: UTF8.self) }
}
