// SPDX-License-Identifier: GPL-2.0
// What every superblock of a volume tells of each of its devices.
//
// Invariants
//   (1) Encoding a decoded member in as many bytes gives the bytes that it was decoded from.
//   (2) `iops` has 4 entries, `errors` and `errorsAtReset` have 3: more are not written, fewer are
//       filled up with zeros.

public import BcachefsSupport

/// One device of a volume (`struct bch_member`).
///
/// The structure has grown: 56 bytes in `members_v1`, as many as the section says in `members_v2`
/// (144 in version 1.13). What an encoding is too short for reads as zero; bytes beyond the 144
/// are kept in `tail`.
public struct Member: Hashable, Sendable {
  public enum Layout {
    /// `__uuid_t` at 0.
    public static let uuid = 0
    public static let bucketCount = LEField<UInt64>(16)
    public static let firstBucket = LEField<UInt16>(24)
    public static let bucketSize = LEField<UInt16>(26)
    public static let btreeBitmapShift = LEField<UInt8>(28)
    /// 3 bytes.
    public static let reserved = 29
    public static let lastMount = LEField<UInt64>(32)
    public static let flags = LEField<UInt64>(40)
    /// 4 of them.
    public static let iops = LEField<UInt32>(48)
    /// 3 of them.
    public static let errors = LEField<UInt64>(64)
    /// 3 of them.
    public static let errorsAtReset = LEField<UInt64>(88)
    public static let errorsResetTime = LEField<UInt64>(112)
    public static let seq = LEField<UInt64>(120)
    public static let btreeAllocatedBitmap = LEField<UInt64>(128)
    public static let lastJournalBucket = LEField<UInt32>(136)
    public static let lastJournalBucketOffset = LEField<UInt32>(140)
    public static let byteCount = 144

    public static let state = LEBits(flags, 0..<4)
    public static let discard = LEBits(flags, 14..<15)
    public static let dataAllowed = LEBits(flags, 15..<20)
    public static let group = LEBits(flags, 20..<28)
    public static let durability = LEBits(flags, 28..<30)
    public static let freespaceInitialized = LEBits(flags, 30..<31)
  }

  /// Bytes of a member in `members_v1` (`BCH_MEMBER_V1_BYTES`).
  public static let v1ByteCount = 56
  /// Fewest buckets a device may have from its first on (`BCH_MIN_NR_NBUCKETS`).
  public static let minBucketCount: UInt64 = 64
  /// `BCH_MEMBER_NBUCKETS_MAX`.
  public static let maxBucketCount: UInt64 = 0x7fff_ffff - 64
  /// One past the largest `btreeBitmapShift` (`BCH_MI_BTREE_BITMAP_SHIFT_MAX`).
  public static let btreeBitmapShiftLimit: UInt8 = 58
  /// What stands for a device that does not exist in a list of devices (`BCH_SB_MEMBER_INVALID`).
  public static let invalidDevice: UInt8 = 255

  /// What newer formats put in the slot of a removed device that pointers may still name
  /// (`BCH_SB_MEMBER_DELETED_UUID`).
  public static let deletedUUID = UUID(lo: UInt64.max, hi: 0xeff7_3d80_cf60_6ad9)

  /// Zero when the slot is free.
  public var uuid: UUID
  /// Size of the device in buckets.
  public var bucketCount: UInt64
  /// Index of the first bucket that may be used.
  public var firstBucket: UInt16
  /// In 512-byte sectors.
  public var bucketSizeSectors: UInt16
  /// Base 2 logarithm of the sectors that each bit of `btreeAllocatedBitmap` stands for.
  public var btreeBitmapShift: UInt8
  /// Bytes 29 to 31.
  public let reserved: [UInt8]
  /// Seconds since 1970, zero for never.
  public var lastMount: UInt64
  /// The whole word; named parts below.
  public var flags: UInt64
  /// By `IOPSMeasurement`, 4 of them.
  public var iops: [UInt32]
  /// Since the volume was made, by `MemberErrorType`, 3 of them.
  public var errors: [UInt64]
  /// What `errors` were when they were last reset, 3 of them.
  public var errorsAtReset: [UInt64]
  /// Seconds since 1970.
  public var errorsResetTime: UInt64
  /// The superblock's `seq` when this device's copy was last written.
  public var seq: UInt64
  /// Which 64ths of the device (as `btreeBitmapShift` cuts it) may hold btree nodes.
  public var btreeAllocatedBitmap: UInt64
  public var lastJournalBucket: UInt32
  public var lastJournalBucketOffset: UInt32
  /// What a newer format has after these fields.
  public let tail: [UInt8]

  /// A new device, read-write, with everything unknown zero.
  ///
  /// - Parameters:
  ///   - bucketCount: Size of the device in buckets.
  ///   - bucketSizeSectors: In 512-byte sectors.
  public init(uuid: UUID, bucketCount: UInt64, bucketSizeSectors: UInt16) {
    self.init(zeroPadded: [UInt8](repeating: 0, count: Layout.byteCount), tail: [])
    self.uuid = uuid
    self.bucketCount = bucketCount
    self.bucketSizeSectors = bucketSizeSectors
  }

  /// Reads a member of any size.
  init(decoding bytes: RawSpan) {
    var padded = bytes.copyOfBytes(in: 0..<min(bytes.byteCount, Layout.byteCount))
    padded += [UInt8](repeating: 0, count: Layout.byteCount - padded.count)
    self.init(zeroPadded: padded, tail: bytes.copyOfBytes(from: Layout.byteCount))
  }

  private init(zeroPadded bytes: [UInt8], tail: [UInt8]) {
    let span = bytes.rawBytes
    uuid = UUID(decoding: span, at: Layout.uuid)
    bucketCount = span[Layout.bucketCount]
    firstBucket = span[Layout.firstBucket]
    bucketSizeSectors = span[Layout.bucketSize]
    btreeBitmapShift = span[Layout.btreeBitmapShift]
    reserved = span.copyOfBytes(in: Layout.reserved..<Layout.lastMount.offset)
    lastMount = span[Layout.lastMount]
    flags = span[Layout.flags]
    iops = (0..<4).map { span[Layout.iops.at($0 * 4)] }
    errors = (0..<3).map { span[Layout.errors.at($0 * 8)] }
    errorsAtReset = (0..<3).map { span[Layout.errorsAtReset.at($0 * 8)] }
    errorsResetTime = span[Layout.errorsResetTime]
    seq = span[Layout.seq]
    btreeAllocatedBitmap = span[Layout.btreeAllocatedBitmap]
    lastJournalBucket = span[Layout.lastJournalBucket]
    lastJournalBucketOffset = span[Layout.lastJournalBucketOffset]
    self.tail = tail
  }

  /// The member in `byteCount` bytes: cut off, or filled up with zeros.
  func encode(byteCount: Int) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: Layout.byteCount)
    out.put(uuid, at: Layout.uuid)
    out.put(bucketCount, Layout.bucketCount)
    out.put(firstBucket, Layout.firstBucket)
    out.put(bucketSizeSectors, Layout.bucketSize)
    out.put(btreeBitmapShift, Layout.btreeBitmapShift)
    out.put(bytes: reserved, at: Layout.reserved)
    out.put(lastMount, Layout.lastMount)
    out.put(flags, Layout.flags)
    for (index, value) in iops.prefix(4).enumerated() { out.put(value, Layout.iops.at(index * 4)) }
    for (index, value) in errors.prefix(3).enumerated() {
      out.put(value, Layout.errors.at(index * 8))
    }
    for (index, value) in errorsAtReset.prefix(3).enumerated() {
      out.put(value, Layout.errorsAtReset.at(index * 8))
    }
    out.put(errorsResetTime, Layout.errorsResetTime)
    out.put(seq, Layout.seq)
    out.put(btreeAllocatedBitmap, Layout.btreeAllocatedBitmap)
    out.put(lastJournalBucket, Layout.lastJournalBucket)
    out.put(lastJournalBucketOffset, Layout.lastJournalBucketOffset)
    out += tail
    if out.count < byteCount { out += [UInt8](repeating: 0, count: byteCount - out.count) }
    return Array(out.prefix(byteCount))
  }

  // MARK: What the flags say

  /// Whether the slot holds a device (`bch2_member_alive`).
  public var isAlive: Bool { !uuid.isZero && uuid != Self.deletedUUID }

  public var state: MemberState {
    get { MemberState(rawValue: UInt8(truncatingIfNeeded: Layout.state.get(flags))) }
    set { flags = Layout.state.setting(flags, to: UInt64(newValue.rawValue)) }
  }

  /// Freed buckets are discarded.
  public var discard: Bool {
    get { Layout.discard.get(flags) != 0 }
    set { flags = Layout.discard.setting(flags, to: newValue ? 1 : 0) }
  }

  /// What may be written to this device; types above 4 have no bit.
  public var dataAllowed: PersistentMask<DataType> {
    get { PersistentMask(rawValue: Layout.dataAllowed.get(flags)) }
    set {
      flags = Layout.dataAllowed.setting(flags, to: newValue.rawValue & Layout.dataAllowed.max)
    }
  }

  /// Index of the disk group that is the device's label, nil without one.
  public var groupIndex: Int? {
    get {
      let stored = Layout.group.get(flags)
      return stored == 0 ? nil : Int(stored) - 1
    }
    set {
      let stored = newValue.map { UInt64(clamping: $0 + 1) } ?? 0
      flags = Layout.group.setting(flags, to: min(stored, Layout.group.max))
    }
  }

  /// As how many replicas a copy on this device counts, 0 to 2.
  public var durability: UInt8 {
    get {
      let stored = Layout.durability.get(flags)
      return stored == 0 ? 1 : UInt8(truncatingIfNeeded: stored) - 1
    }
    set { flags = Layout.durability.setting(flags, to: UInt64(min(newValue, 2)) + 1) }
  }

  /// The freespace and need_discard btrees tell the truth about this device.
  public var freespaceInitialized: Bool {
    get { Layout.freespaceInitialized.get(flags) != 0 }
    set { flags = Layout.freespaceInitialized.setting(flags, to: newValue ? 1 : 0) }
  }
}
