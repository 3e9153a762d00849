// SPDX-License-Identifier: GPL-2.0
// Directory entries: a name and what it names.
//
// The key's inode is the directory, its offset the name's hash. The name runs from byte 9 to the
// value's end, less the zero bytes that fill the last word: its length is stored nowhere.
// In a casefolded directory (bit 7 of the type; versions from 1.24 on) the lengths of the name and
// of its folded form, whose hash the key has, stand at 11 and 13, and both names from 15 on.
// Invariants
//   (1) Names lie within the value, whatever lengths it claims.
//   (2) A valid value comes back as the same bytes.
// Source: bcachefs dirent.c.

internal import BcachefsSupport

/// A directory entry (`struct bch_dirent`).
public struct Dirent: ~Escapable {
  /// What a name can name.
  public enum Target: Hashable, Sendable {
    case inode(UInt64)
    /// A subvolume's root, visible only in the subvolume that it was put in.
    case subvolume(child: UInt32, parent: UInt32)
  }

  public let target: Target
  /// `d_type` of readdir; `subvolumeType` for the root of a subvolume.
  public let type: UInt8
  /// The bytes of the name; not necessarily UTF-8.
  public let name: RawSpan
  /// The name as lookups compare it, in a casefolded directory; else empty.
  public let foldedName: RawSpan
  public let isCasefolded: Bool
  /// What lookups compare, and what the key's offset is the hash of.
  @inlinable public var lookupName: RawSpan {
    @_lifetime(copy self) get { isCasefolded ? foldedName : name }
  }
  /// What the value says the names' lengths are together, before cutting at its end.
  let nameByteCount: Int
  /// Words of the value.
  public let u64s: Int

  /// `DT_DIR`
  @inlinable public static var directoryType: UInt8 { 4 }
  /// `DT_SUBVOL`
  @inlinable public static var subvolumeType: UInt8 { 16 }
  /// The longest name that may be made, bytes (`BCH_NAME_MAX`).
  @inlinable public static var maxNameByteCount: Int { 512 }

  /// Where `struct bch_dirent` keeps its fields.
  @frozen public enum Layout {
    @inlinable public static var inode: LEField<UInt64> { .init(0) }
    @inlinable public static var childSubvolume: LEField<UInt32> { .init(0) }
    @inlinable public static var parentSubvolume: LEField<UInt32> { .init(4) }
    @inlinable public static var type: LEField<UInt8> { .init(8) }
    @inlinable public static var name: Int { 9 }
    /// Bit of the type for entries of casefolded directories.
    @inlinable public static var casefold: UInt8 { 0x80 }
    @inlinable public static var casefoldedNameLength: LEField<UInt16> { .init(11) }
    @inlinable public static var foldedNameLength: LEField<UInt16> { .init(13) }
    @inlinable public static var casefoldedNames: Int { 15 }
  }

  /// - Throws: `.truncated` below 16 bytes.
  @_lifetime(copy value)
  public init(decoding value: RawSpan) throws(FormatError) {
    let count = value.byteCount & ~7
    guard count >= 16 else { throw .tooSmall("bch_dirent", value.byteCount, 16) }
    let typeByte = value[Layout.type]
    isCasefolded = typeByte & Layout.casefold != 0
    type = isCasefolded ? typeByte & 0x1f : typeByte
    if type == Dirent.subvolumeType {
      target = .subvolume(
        child: value[Layout.childSubvolume], parent: value[Layout.parentSubvolume])
    } else {
      target = .inode(value[Layout.inode])
    }
    let last = value[LEField<UInt64>(count &- 8)]
    let end = count &- last.leadingZeroBitCount / 8
    if isCasefolded {
      let nameLength = Int(value[Layout.casefoldedNameLength])
      let foldedLength = Int(value[Layout.foldedNameLength])
      let nameEnd = min(Layout.casefoldedNames &+ nameLength, count)
      name = value.extracting(Layout.casefoldedNames..<nameEnd)
      foldedName = value.extracting(nameEnd..<min(nameEnd &+ foldedLength, count))
      nameByteCount = nameLength &+ foldedLength
    } else {
      name = value.extracting(Layout.name..<max(Layout.name, end))
      foldedName = value.extracting(0..<0)
      nameByteCount = max(0, end &- Layout.name)
    }
    u64s = count / 8
  }

  /// Words that a value with such names takes (`dirent_val_u64s`).
  ///
  /// - Parameter foldedByteCount: 0 outside casefolded directories.
  @inlinable public static func encodedU64s(
    nameByteCount: Int, foldedByteCount: Int = 0
  ) -> Int {
    let start = foldedByteCount == 0 ? Layout.name : Layout.casefoldedNames
    return (start &+ nameByteCount &+ foldedByteCount &+ 7) / 8
  }

  /// Encodes a value for a name.
  ///
  /// - Parameter foldedName: The folded form of the name, in casefolded directories only.
  /// - Returns: Its words.
  /// - Throws: `.tooLarge` (`dirent_name_too_long`), `.truncated` without room.
  public static func encode(
    target: Target, type: UInt8, name: RawSpan, foldedName: RawSpan = RawSpan(),
    into value: inout MutableRawSpan
  ) throws(FormatError) -> Int {
    let count = name.byteCount
    let folded = foldedName.byteCount
    guard count <= maxNameByteCount, folded <= maxNameByteCount else {
      throw FormatError(
        .tooLarge, "bch_dirent", "d_name", found: UInt64(max(count, folded)),
        expected: UInt64(maxNameByteCount), fsckError: .dirent_name_too_long)
    }
    let u64s = encodedU64s(nameByteCount: count, foldedByteCount: folded)
    guard value.byteCount >= u64s &* 8 else {
      throw .tooSmall("bch_dirent", value.byteCount, u64s &* 8)
    }
    for at in (u64s &* 8 &- 8)..<(u64s &* 8) { value[LEField<UInt8>(at)] = 0 }
    switch target {
    case .inode(let number): value[Layout.inode] = number
    case .subvolume(let child, let parent):
      value[Layout.childSubvolume] = child
      value[Layout.parentSubvolume] = parent
    }
    guard folded > 0 else {
      value[Layout.type] = type
      value.copy(name, to: Layout.name)
      return u64s
    }
    value[Layout.type] = type | Layout.casefold
    value[LEField<UInt16>(Layout.name)] = 0
    value[Layout.casefoldedNameLength] = UInt16(truncatingIfNeeded: count)
    value[Layout.foldedNameLength] = UInt16(truncatingIfNeeded: folded)
    value.copy(name, to: Layout.casefoldedNames)
    value.copy(foldedName, to: Layout.casefoldedNames &+ count)
    return u64s
  }
}

extension Dirent {
  /// `name -> 4098 type dir` (`bch2_dirent_to_text`).
  public var description: String { String(decoding: textBytes, as: UTF8.self) }

  /// The text with the name's own bytes, which need not be UTF-8.
  public var textBytes: [UInt8] {
    let tail =
      switch target {
      case .inode(let number): " -> \(number) type \(Dirent.typeName(type))"
      case .subvolume(let child, let parent):
        " -> \(parent) -> \(child) type \(Dirent.typeName(type))"
      }
    return name.textBytes + tail.utf8
  }

  /// Upstream's name of a `d_type`.
  public static func typeName(_ type: UInt8) -> String {
    switch type {
    case 0: "unknown"
    case 1: "fifo"
    case 2: "chr"
    case 4: "dir"
    case 6: "blk"
    case 8: "reg"
    case 10: "lnk"
    case 12: "sock"
    case 14: "whiteout"
    case subvolumeType: "subvol"
    default: "(bad d_type)"
    }
  }

  /// `bch2_dirent_validate`
  public func validate(key: BKey, flags: BKeyValidation = []) throws(FormatError) {
    let count = name.byteCount
    guard count > 0 else { throw bad("d_name", 0, .dirent_empty_name) }
    let needed = Dirent.encodedU64s(
      nameByteCount: isCasefolded ? nameByteCount &- foldedName.byteCount : count,
      foldedByteCount: foldedName.byteCount)
    // A folded name may be followed by more; it must only fit.
    guard isCasefolded ? u64s >= needed : u64s <= needed else {
      throw FormatError(
        .inconsistent, "bch_dirent", "u64s", found: UInt64(u64s), expected: UInt64(needed),
        fsckError: .dirent_val_too_big)
    }
    if flags.contains(.commit), count > Dirent.maxNameByteCount {
      throw FormatError(
        .tooLarge, "bch_dirent", "d_name", found: UInt64(count),
        expected: UInt64(Dirent.maxNameByteCount), fsckError: .dirent_name_too_long)
    }
    var slash = false
    for at in 0..<count {
      let byte = name[LEField<UInt8>(at)]
      guard byte != 0 else { throw bad("d_name", UInt64(at), .dirent_name_embedded_nul) }
      slash = slash || byte == UInt8(ascii: "/")
    }
    let dot = UInt8(ascii: ".")
    if count <= 2, name[LEField<UInt8>(0)] == dot, name[LEField<UInt8>(count &- 1)] == dot {
      throw bad("d_name", UInt64(count), .dirent_name_dot_or_dotdot)
    }
    guard !slash else { throw bad("d_name", UInt64(UInt8(ascii: "/")), .dirent_name_has_slash) }
    if case .inode(let number) = target, number == key.position.inode {
      throw bad("d_inum", number, .dirent_to_itself)
    }
  }

  private func bad(
    _ field: StaticString, _ found: UInt64, _ error: FsckErrorID
  ) -> FormatError {
    FormatError(.invalid, "bch_dirent", field, found: found, fsckError: error)
  }
}
