// SPDX-License-Identifier: GPL-2.0
// Values of one or a few fixed fields. Bytes that no field names stay as they are when encoding:
// start from zeroes for a new value, from a copy for a changed one.
//
// Invariants
//   (1) Decoding then encoding over a copy of a value gives the same bytes.

internal import BcachefsSupport

/// Space promised and not yet allocated (`struct bch_reservation`).
@frozen
public struct Reservation: Hashable, Sendable, BitwiseCopyable {
  public var generation: UInt32
  public var replicas: UInt8

  @inlinable public init(generation: UInt32 = 0, replicas: UInt8) {
    self.generation = generation
    self.replicas = replicas
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 1 }

  /// - Throws: `.truncated` below 8 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_reservation", value.byteCount, 8) }
    self.init(generation: value[LEField(0)], replicas: value[LEField(4)])
  }

  /// - Precondition: room for 8 bytes.
  public func encode(into value: inout MutableRawSpan) {
    value[LEField<UInt32>(0)] = generation
    value[LEField<UInt8>(4)] = replicas
  }

  /// `bch2_reservation_validate`
  public func validate() throws(FormatError) {
    guard 1...ValueTables.maxReplicas ~= Int(replicas) else {
      throw FormatError(
        .invalid, "bch_reservation", "nr_replicas", found: UInt64(replicas),
        fsckError: .reservation_key_nr_replicas_invalid)
    }
  }
}

extension Reservation: CustomStringConvertible {
  /// `generation 0 replicas 1`
  public var description: String { "generation \(generation) replicas \(replicas)" }
}

/// A value to be compared later (`struct bch_cookie`): rebalance_work's marker of a scan.
@frozen
public struct Cookie: Hashable, Sendable, BitwiseCopyable {
  public var cookie: UInt64

  @inlinable public init(_ cookie: UInt64) { self.cookie = cookie }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 1 }

  /// - Throws: `.truncated` below 8 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_cookie", value.byteCount, 8) }
    cookie = value[LEField(0)]
  }

  /// - Precondition: room for 8 bytes.
  public func encode(into value: inout MutableRawSpan) { value[LEField<UInt64>(0)] = cookie }
}

extension Cookie: CustomStringConvertible {
  /// The number.
  public var description: String { String(cookie) }
}

/// The generation that the next inode of a number gets (`struct bch_inode_generation`).
@frozen
public struct InodeGeneration: Hashable, Sendable, BitwiseCopyable {
  public var generation: UInt32

  @inlinable public init(_ generation: UInt32) { self.generation = generation }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 1 }

  /// - Throws: `.truncated` below 8 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_inode_generation", value.byteCount, 8) }
    generation = value[LEField(0)]
  }

  /// - Precondition: room for 8 bytes.
  public func encode(into value: inout MutableRawSpan) { value[LEField<UInt32>(0)] = generation }

  /// `bch2_inode_generation_validate`
  public static func validate(key: BKey) throws(FormatError) {
    guard key.position.inode == 0 else {
      throw FormatError(
        .invalid, "bch_inode_generation", "pos", found: key.position.inode,
        fsckError: .inode_pos_inode_nonzero)
    }
  }
}

extension InodeGeneration: CustomStringConvertible {
  /// `generation: 1`
  public var description: String { "generation: \(generation)" }
}

/// An entry of the LRU before 0.24 (`struct bch_lru`); today's entries have no value.
@frozen
public struct LRUValue: Hashable, Sendable, BitwiseCopyable {
  public var index: UInt64

  @inlinable public init(_ index: UInt64) { self.index = index }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 1 }

  /// - Throws: `.truncated` below 8 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_lru", value.byteCount, 8) }
    index = value[LEField(0)]
  }

  /// - Precondition: room for 8 bytes.
  public func encode(into value: inout MutableRawSpan) { value[LEField<UInt64>(0)] = index }

  /// `bch2_lru_validate`
  public static func validate(key: BKey) throws(FormatError) {
    guard Positions.lruTime(key.position) != 0 else {
      throw FormatError(.invalid, "bch_lru", "time", fsckError: .lru_entry_at_time_0)
    }
  }
}

extension LRUValue: CustomStringConvertible {
  /// `idx 5`
  public var description: String { "idx \(index)" }
}

/// A file's share of an indirect extent (`struct bch_reflink_p`).
@frozen
public struct ReflinkP: Hashable, Sendable, BitwiseCopyable {
  /// Sector in the reflink btree where this key's data starts, 56 bits.
  public var index: UInt64
  /// What versions from 1.16 on keep above the index: bit 0, the indirect extent was missing once;
  /// bit 1, this file's options may be given to it.
  public var flags: UInt8 = 0
  /// Sectors before `index` and after this key's end that it also holds a reference on.
  public var frontPad: UInt32
  public var backPad: UInt32

  @inlinable public init(index: UInt64, frontPad: UInt32 = 0, backPad: UInt32 = 0) {
    self.index = index
    self.frontPad = frontPad
    self.backPad = backPad
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 2 }

  /// - Throws: `.truncated` below 16 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 16 else { throw .tooSmall("bch_reflink_p", value.byteCount, 16) }
    let word: UInt64 = value[LEField(0)]
    self.init(
      index: word & (1 << 56 &- 1), frontPad: value[LEField(8)], backPad: value[LEField(12)])
    flags = UInt8(word >> 56)
  }

  /// - Precondition: room for 16 bytes.
  public func encode(into value: inout MutableRawSpan) {
    value[LEField<UInt64>(0)] = index & (1 << 56 &- 1) | UInt64(flags) << 56
    value[LEField<UInt32>(8)] = frontPad
    value[LEField<UInt32>(12)] = backPad
  }

  /// `bch2_reflink_p_validate`
  public func validate() throws(FormatError) {
    guard index >= UInt64(frontPad) else {
      throw FormatError(
        .inconsistent, "bch_reflink_p", "front_pad", found: UInt64(frontPad), expected: index,
        fsckError: .reflink_p_front_pad_bad)
    }
  }
}

extension ReflinkP: CustomStringConvertible {
  /// `idx 8 front_pad 0 back_pad 0`
  public var description: String { "idx \(index) front_pad \(frontPad) back_pad \(backPad)" }
}

/// How many `reflink_p` use an indirect extent: the head of `reflink_v` (entries follow, see
/// `ExtentEntries`) and of `indirect_inline_data` (data follows).
@frozen
public struct ReflinkHead: Hashable, Sendable, BitwiseCopyable {
  public var refcount: UInt64

  @inlinable public init(refcount: UInt64) { self.refcount = refcount }

  /// Bytes before the entries or the data.
  @inlinable public static var byteCount: Int { 8 }

  /// - Throws: `.truncated` below 8 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_reflink_v", value.byteCount, 8) }
    refcount = value[LEField(0)]
  }

  /// - Precondition: room for 8 bytes.
  public func encode(into value: inout MutableRawSpan) { value[LEField<UInt64>(0)] = refcount }
}

/// Data kept in the key (`struct bch_inline_data`, `struct bch_indirect_inline_data`): in whole
/// words; how much of it is the file's, the key's size and the inode say.
public struct InlineData: ~Escapable {
  /// The data, filled up with zeroes to a word.
  public let data: RawSpan
  /// nil for data of one file.
  public let refcount: UInt64?

  /// - Throws: `.truncated` for indirect data without a refcount.
  @_lifetime(copy value)
  public init(key: BKey, value: RawSpan) throws(FormatError) {
    if key.type == .indirectInlineData {
      refcount = try ReflinkHead(decoding: value).refcount
      data = value.extracting(ReflinkHead.byteCount..<value.byteCount)
    } else {
      refcount = nil
      data = value
    }
  }

  /// Words of a value with `byteCount` bytes of data.
  @inlinable public static func encodedU64s(byteCount: Int, isIndirect: Bool = false) -> Int {
    (byteCount &+ 7) / 8 &+ (isIndirect ? 1 : 0)
  }

  /// Encodes data, with a refcount for indirect data.
  ///
  /// - Returns: Words of the value.
  /// - Throws: `.tooLarge` if it does not fit a key, `.truncated` without room.
  public static func encode(
    _ data: RawSpan, refcount: UInt64? = nil, into value: inout MutableRawSpan
  ) throws(FormatError) -> Int {
    let u64s = encodedU64s(byteCount: data.byteCount, isIndirect: refcount != nil)
    guard u64s <= BKey.maxValueU64s else {
      throw FormatError(
        .tooLarge, "bch_inline_data", "data", found: UInt64(data.byteCount),
        expected: UInt64(BKey.maxValueU64s * 8))
    }
    guard value.byteCount >= u64s &* 8 else {
      throw .tooSmall("bch_inline_data", value.byteCount, u64s &* 8)
    }
    var at = 0
    if let refcount {
      value[LEField<UInt64>(0)] = refcount
      at = 8
    }
    value.copy(data, to: at)
    for byte in (at &+ data.byteCount)..<(u64s &* 8) { value[LEField<UInt8>(byte)] = 0 }
    return u64s
  }

  /// `datalen 8: 0a00000000000000`, at most 32 bytes of it.
  public var description: String {
    let text = "datalen \(data.byteCount): \(data.hexText(limit: 32))"
    return refcount.map { "refcount \($0) \(text)" } ?? text
  }
}

/// Limits of a user, group or project (`struct bch_quota`), at `type:id`.
@frozen
public struct Quota: Hashable, Sendable, BitwiseCopyable {
  /// Sectors; 0 is no limit.
  public var spaceHardLimit: UInt64
  public var spaceSoftLimit: UInt64
  /// Inodes; 0 is no limit.
  public var inodeHardLimit: UInt64
  public var inodeSoftLimit: UInt64

  @inlinable public init(
    spaceHardLimit: UInt64 = 0, spaceSoftLimit: UInt64 = 0, inodeHardLimit: UInt64 = 0,
    inodeSoftLimit: UInt64 = 0
  ) {
    self.spaceHardLimit = spaceHardLimit
    self.spaceSoftLimit = spaceSoftLimit
    self.inodeHardLimit = inodeHardLimit
    self.inodeSoftLimit = inodeSoftLimit
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 4 }

  /// - Throws: `.truncated` below 32 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 32 else { throw .tooSmall("bch_quota", value.byteCount, 32) }
    self.init(
      spaceHardLimit: value[LEField(0)], spaceSoftLimit: value[LEField(8)],
      inodeHardLimit: value[LEField(16)], inodeSoftLimit: value[LEField(24)])
  }

  /// - Precondition: room for 32 bytes.
  public func encode(into value: inout MutableRawSpan) {
    value[LEField<UInt64>(0)] = spaceHardLimit
    value[LEField<UInt64>(8)] = spaceSoftLimit
    value[LEField<UInt64>(16)] = inodeHardLimit
    value[LEField<UInt64>(24)] = inodeSoftLimit
  }

  /// `bch2_quota_validate`
  public static func validate(key: BKey) throws(FormatError) {
    guard key.position.inode < 3 else {
      throw FormatError(
        .tooLarge, "bch_quota", "type", found: key.position.inode, expected: 2,
        fsckError: .quota_type_invalid)
    }
  }
}

extension Quota: CustomStringConvertible {
  /// Upstream's line, which has no space between its two halves.
  public var description: String {
    "space hardlimit \(spaceHardLimit) softlimit \(spaceSoftLimit)"
      + "inodes hardlimit \(inodeHardLimit) softlimit \(inodeSoftLimit)"
  }
}

/// A truncate under way (`struct bch_logged_op_truncate`): resumed after a crash.
@frozen
public struct LoggedOpTruncate: Hashable, Sendable, BitwiseCopyable {
  public var subvolume: UInt32
  public var inode: UInt64
  /// Bytes.
  public var newSize: UInt64

  @inlinable public init(subvolume: UInt32, inode: UInt64, newSize: UInt64) {
    self.subvolume = subvolume
    self.inode = inode
    self.newSize = newSize
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 3 }

  /// - Throws: `.truncated` below 24 bytes.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 24 else {
      throw .tooSmall("bch_logged_op_truncate", value.byteCount, 24)
    }
    self.init(subvolume: value[LEField(0)], inode: value[LEField(8)], newSize: value[LEField(16)])
  }

  /// - Precondition: room for 24 bytes.
  public func encode(into value: inout MutableRawSpan) {
    value[LEField<UInt32>(0)] = subvolume
    value[LEField<UInt64>(8)] = inode
    value[LEField<UInt64>(16)] = newSize
  }
}

extension LoggedOpTruncate: CustomStringConvertible {
  /// `subvol=1 inum=4096 new_i_size=0`
  public var description: String { "subvol=\(subvolume) inum=\(inode) new_i_size=\(newSize)" }
}

/// An insertion or removal of a range under way (`struct bch_logged_op_finsert`).
@frozen
public struct LoggedOpFinsert: Hashable, Sendable, BitwiseCopyable {
  /// `enum logged_op_finsert_state`: 0 start, 1 shift extents, 2 finish.
  public var state: UInt8
  public var subvolume: UInt32
  public var inode: UInt64
  /// Sectors, signed.
  public var destination: Int64
  /// Sectors.
  public var source: UInt64
  /// How far the shifting has come, sectors.
  public var position: UInt64

  @inlinable public init(
    state: UInt8, subvolume: UInt32, inode: UInt64, destination: Int64, source: UInt64,
    position: UInt64
  ) {
    self.state = state
    self.subvolume = subvolume
    self.inode = inode
    self.destination = destination
    self.source = source
    self.position = position
  }

  /// Words of the value.
  @inlinable public static var encodedU64s: Int { 5 }

  /// - Throws: `.truncated` below 24 bytes; what is missing behind is 0.
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 24 else {
      throw .tooSmall("bch_logged_op_finsert", value.byteCount, 24)
    }
    self.init(
      state: value[LEField(0)], subvolume: value[LEField(4)], inode: value[LEField(8)],
      destination: Int64(bitPattern: value[LEField<UInt64>(16)]), source: value.orZero(LEField(24)),
      position: value.orZero(LEField(32)))
  }

  /// Encodes the fields that fit.
  public func encode(into value: inout MutableRawSpan) {
    value.setIfPresent(LEField<UInt8>(0), state)
    value.setIfPresent(LEField<UInt32>(4), subvolume)
    value.setIfPresent(LEField<UInt64>(8), inode)
    value.setIfPresent(LEField<UInt64>(16), UInt64(bitPattern: destination))
    value.setIfPresent(LEField<UInt64>(24), source)
    value.setIfPresent(LEField<UInt64>(32), position)
  }
}

extension LoggedOpFinsert: CustomStringConvertible {
  /// `subvol=1 inum=4096 dst_offset=8 src_offset=0`
  public var description: String {
    "subvol=\(subvolume) inum=\(inode) dst_offset=\(destination) src_offset=\(source)"
  }
}
