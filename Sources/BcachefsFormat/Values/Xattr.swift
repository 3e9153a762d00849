// SPDX-License-Identifier: GPL-2.0
// Extended attributes: a kind, a name without its prefix, and a value.
//
// The key's inode is the file, its offset the hash of kind and name. The name starts at byte 4, the
// value right behind it. ACLs are attributes without a name whose value has a form of its own:
// version 1 (4 bytes), then entries of tag and permissions (2 bytes each), followed for named users
// and groups by an id (4 bytes).
// Source: bcachefs xattr.c, acl.c.

internal import BcachefsSupport

/// An extended attribute (`struct bch_xattr`).
public struct Xattr: ~Escapable {
  /// `KEY_TYPE_XATTR_INDEX_*`
  public let type: UInt8
  /// Bytes of the name, without the kind's prefix; cut at the value's end.
  public let name: RawSpan
  /// The attribute's value; cut at the key value's end.
  public let value: RawSpan
  /// What the head says, before cutting.
  public let nameByteCount: Int
  public let valueByteCount: Int
  /// Words of the key's value.
  public let u64s: Int

  /// Kinds of attributes.
  @frozen public enum Kind {
    @inlinable public static var user: UInt8 { 0 }
    @inlinable public static var aclAccess: UInt8 { 1 }
    @inlinable public static var aclDefault: UInt8 { 2 }
    @inlinable public static var trusted: UInt8 { 3 }
    @inlinable public static var security: UInt8 { 4 }
  }

  /// Where `struct bch_xattr` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var type: LEField<UInt8> { .init(0) }
    @inlinable public static var nameByteCount: LEField<UInt8> { .init(1) }
    @inlinable public static var valueByteCount: LEField<UInt16> { .init(2) }
    @inlinable public static var name: Int { 4 }
  }

  /// - Throws: `.truncated` below 8 bytes.
  @_lifetime(copy bytes)
  public init(decoding bytes: RawSpan) throws(FormatError) {
    let count = bytes.byteCount & ~7
    guard count >= 8 else { throw .tooSmall("bch_xattr", bytes.byteCount, 8) }
    type = bytes[Layout.type]
    nameByteCount = Int(bytes[Layout.nameByteCount])
    valueByteCount = Int(bytes[Layout.valueByteCount])
    let nameEnd = min(Layout.name &+ nameByteCount, count)
    let valueEnd = min(nameEnd &+ valueByteCount, count)
    name = bytes.extracting(Layout.name..<nameEnd)
    value = bytes.extracting(nameEnd..<valueEnd)
    u64s = count / 8
  }

  /// Words of a key's value (`xattr_val_u64s`).
  @inlinable public static func encodedU64s(nameByteCount: Int, valueByteCount: Int) -> Int {
    (Layout.name &+ nameByteCount &+ valueByteCount &+ 7) / 8
  }

  /// Encodes an attribute.
  ///
  /// - Returns: Words of the key's value.
  /// - Throws: `.tooLarge` if it does not fit a key, `.truncated` without room.
  public static func encode(
    type: UInt8, name: RawSpan, value: RawSpan, into bytes: inout MutableRawSpan
  ) throws(FormatError) -> Int {
    let u64s = encodedU64s(nameByteCount: name.byteCount, valueByteCount: value.byteCount)
    guard let nameLength = UInt8(exactly: name.byteCount), u64s <= BKey.maxValueU64s else {
      throw FormatError(
        .tooLarge, "bch_xattr", "x_val_len", found: UInt64(name.byteCount &+ value.byteCount),
        expected: UInt64(BKey.maxValueU64s * 8 - Layout.name))
    }
    guard bytes.byteCount >= u64s &* 8 else {
      throw .tooSmall("bch_xattr", bytes.byteCount, u64s &* 8)
    }
    bytes[Layout.type] = type
    bytes[Layout.nameByteCount] = nameLength
    bytes[Layout.valueByteCount] = UInt16(truncatingIfNeeded: value.byteCount)
    bytes.copy(name, to: Layout.name)
    let end = Layout.name &+ name.byteCount
    bytes.copy(value, to: end)
    for at in (end &+ value.byteCount)..<(u64s &* 8) { bytes[LEField<UInt8>(at)] = 0 }
    return u64s
  }

  /// `bch2_xattr_validate`
  public func validate() throws(FormatError) {
    let least = Xattr.encodedU64s(nameByteCount: nameByteCount, valueByteCount: valueByteCount)
    guard u64s >= least else {
      throw FormatError(
        .tooSmall, "bch_xattr", "u64s", found: UInt64(u64s), expected: UInt64(least),
        fsckError: .xattr_val_size_too_small)
    }
    // Four more bytes than needed are accepted: old writers left them.
    let most = Xattr.encodedU64s(nameByteCount: nameByteCount, valueByteCount: valueByteCount &+ 4)
    guard u64s <= most else {
      throw FormatError(
        .tooLarge, "bch_xattr", "u64s", found: UInt64(u64s), expected: UInt64(most),
        fsckError: .xattr_val_size_too_big)
    }
    guard type <= Kind.security else {
      throw FormatError(
        .invalid, "bch_xattr", "x_type", found: UInt64(type), fsckError: .xattr_invalid_type)
    }
    for at in 0..<name.byteCount where name[LEField<UInt8>(at)] == 0 {
      throw FormatError(
        .invalid, "bch_xattr", "x_name", found: UInt64(at), fsckError: .xattr_name_invalid_chars)
    }
  }
}

extension Xattr {
  /// The prefix of a kind's names, nil for ACLs (whose name is fixed) and unknown kinds.
  public static func prefix(_ type: UInt8) -> StaticString? {
    switch type {
    case Kind.user: "user."
    case Kind.trusted: "trusted."
    case Kind.security: "security."
    default: nil
    }
  }

  /// `user.name:value`, and the entries of an ACL (`bch2_xattr_to_text`).
  public var description: String { String(decoding: textBytes, as: UTF8.self) }

  /// The text with the bytes of name and value, which need not be UTF-8.
  public var textBytes: [UInt8] {
    var text = ""
    if let prefix = Xattr.prefix(type) {
      text = "\(prefix)"
    } else {
      text = type <= Kind.security ? "(type \(type))" : "(unknown type \(type))"
    }
    var bytes = Array(text.utf8) + name.textBytes + ":".utf8 + value.textBytes
    if type == Kind.aclAccess || type == Kind.aclDefault { bytes += " \(aclText)".utf8 }
    return bytes
  }

  /// The entries of an ACL, as far as they are whole (`bch2_acl_to_text`).
  private var aclText: String {
    guard value.byteCount >= 4, value[LEField<UInt32>(0)] == 1 else { return "" }
    var text = ""
    var at = 4
    while value.byteCount &- at >= 4 {
      let tag = value[LEField<UInt16>(at)]
      let permissions = value[LEField<UInt16>(at &+ 2)]
      guard let name = Xattr.aclTagName(tag) else { break }
      text += "\(name)"
      if tag == 2 || tag == 8 {
        guard value.byteCount &- at >= 8 else { break }
        text += " \(tag == 2 ? "uid" : "gid") \(value[LEField<UInt32>(at &+ 4)])"
        at &+= 4
      }
      at &+= 4
      text += " \(String(permissions, radix: 8))"
      if at != value.byteCount { text += " " }
    }
    return text
  }

  private static func aclTagName(_ tag: UInt16) -> StaticString? {
    switch tag {
    case 1: "user_obj"
    case 2: "user"
    case 4: "group_obj"
    case 8: "group"
    case 16: "mask"
    case 32: "other"
    default: nil
    }
  }
}
