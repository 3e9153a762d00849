// SPDX-License-Identifier: GPL-2.0
// What validation and printing of keys need to know besides the key.

/// What a key is validated for (`enum bch_validate_flags`): reading is the most lenient.
@frozen
public struct BKeyValidation: OptionSet, Sendable {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// It is about to be written to a device.
  public static let write = BKeyValidation(rawValue: 1 << 0)
  /// It is about to be committed to the journal.
  public static let commit = BKeyValidation(rawValue: 1 << 1)
  /// The pass that checks LRU entries of buckets has run: cached buckets have a read time.
  public static let lruChecked = BKeyValidation(rawValue: 1 << 2)
}

/// The volume that a key belongs to, as far as its validity and its text depend on it. Without a
/// device in it, rules about that device are not checked and its pointers print sectors instead
/// of buckets.
public struct BKeyContext: Sendable {
  /// What matters of a member device (`struct bch_member_cpu`).
  public struct Device: Sendable, Hashable {
    public var bucketSizeSectors: UInt32
    /// The first bucket that data may be in.
    public var firstBucket: UInt64
    /// One past the last bucket.
    public var bucketCount: UInt64
    public var durability: UInt8
    public var isFailed: Bool

    public init(
      bucketSizeSectors: UInt32, firstBucket: UInt64, bucketCount: UInt64, durability: UInt8 = 1,
      isFailed: Bool = false
    ) {
      self.bucketSizeSectors = bucketSizeSectors
      self.firstBucket = firstBucket
      self.bucketCount = bucketCount
      self.durability = durability
      self.isFailed = isFailed
    }
  }

  /// By index; nil where there is no device.
  public var devices: [Device?]
  /// Sectors of a btree node, 0 if not known.
  public var btreeNodeSectors: UInt32
  /// Sectors of the largest checksummed or compressed extent that may be written, 0 if not known.
  public var maxEncodedExtentSectors: UInt32
  /// Names of targets as options encode them: devices and disk labels.
  public var targetNames: [UInt16: String]
  /// Whether positions of accounting keys are byte-swapped.
  public var swapsAccountingPositions = false
  /// Bits of a backpointer's position below the sector, from 1.14 on; nil: they are as in 1.13.
  public var backpointerShift: UInt64?

  public init(
    devices: [Device?], btreeNodeSectors: UInt32 = 0, maxEncodedExtentSectors: UInt32 = 0,
    targetNames: [UInt16: String] = [:]
  ) {
    self.devices = devices
    self.btreeNodeSectors = btreeNodeSectors
    self.maxEncodedExtentSectors = maxEncodedExtentSectors
    self.targetNames = targetNames
  }

  /// Nothing is known of the volume.
  public static let none = BKeyContext(devices: [])

  /// The device, if there is one of that number and its bucket size makes sense.
  public func device(_ index: UInt64) -> Device? {
    guard index < UInt64(devices.count), let device = devices[Int(index)],
      device.bucketSizeSectors > 0
    else { return nil }
    return device
  }

  /// Whether anything is known of the volume: upstream prints durability only then.
  var isKnown: Bool { !devices.isEmpty }
}
