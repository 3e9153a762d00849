// SPDX-License-Identifier: GPL-2.0
// Which sets of devices hold data together: what must be there for a degraded mount.
//
// How it works
//   Entries are packed bytes that end at the first one of data type 0 or at the section's end.
//   Version 0 has no `nr_required`; it is written whenever every entry requires one device.

/// Data of one type that is spread over these devices (`struct bch_replicas_entry_v1`).
public struct ReplicasEntry: Hashable, Sendable {
  public enum Layout {
    public static let dataType = LEField<UInt8>(0)
    public static let deviceCount = LEField<UInt8>(1)
    /// Version 1 only; in version 0 the devices start here.
    public static let requiredCount = LEField<UInt8>(2)
    public static let v0ByteCount = 2
    public static let byteCount = 3
  }

  public var dataType: DataType
  /// How many of the devices are needed to read the data (`nr_required`); 0 for pointers into
  /// stripes.
  public var requiredCount: UInt8
  /// Device indices, ascending unless the disk says otherwise; 255 stands for a device that is
  /// gone. At most 255.
  public var devices: [UInt8]

  public init(dataType: DataType, requiredCount: UInt8 = 1, devices: [UInt8]) {
    self.dataType = dataType
    self.requiredCount = requiredCount
    self.devices = devices
  }

  /// The bytes of version 1, with or without `nr_required`.
  func encode(version0: Bool) -> [UInt8] {
    let listed = devices.prefix(Int(UInt8.max))
    let head = [dataType.rawValue, UInt8(truncatingIfNeeded: listed.count)]
    return head + (version0 ? [] : [requiredCount]) + listed
  }

  /// The entry with its devices in order.
  public var sorted: ReplicasEntry {
    ReplicasEntry(dataType: dataType, requiredCount: requiredCount, devices: devices.sorted())
  }
}

extension ReplicasEntry: Comparable {
  /// Byte by byte over the encoding, as upstream sorts its table in memory.
  public static func < (a: ReplicasEntry, b: ReplicasEntry) -> Bool {
    let left = (a.dataType.rawValue, a.devices.count, a.requiredCount)
    let right = (b.dataType.rawValue, b.devices.count, b.requiredCount)
    if left != right { return left < right }
    return a.devices.lexicographicallyPrecedes(b.devices)
  }
}

extension ReplicasEntry: CustomStringConvertible {
  /// As in `btree: 1/2 [0 1]`.
  public var description: String {
    "\(dataType): \(requiredCount)/\(devices.count) \(deviceList)"
  }

  /// As version 0 prints it: `btree: 2 [0 1]`.
  public var descriptionV0: String { "\(dataType): \(devices.count) \(deviceList)" }

  private var deviceList: String {
    "[\(devices.map { "\($0)" }.joined(separator: " "))]"
  }
}

/// Sets of devices, each of which requires one (`struct bch_sb_field_replicas_v0`).
public struct ReplicasV0Section: SuperblockSectionContents {
  public static let type = SuperblockSectionType.replicasV0
  /// `requiredCount` is 1 in all of them.
  public var entries: [ReplicasEntry]
  /// What follows the last entry.
  public let slack: [UInt8]

  public init(entries: [ReplicasEntry]) {
    self.entries = entries
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    (entries, slack) = try ReplicasList.decode(bytes, version0: true, "bch_sb_field_replicas_v0")
  }

  public func encode() -> [UInt8] {
    Self.finishedSection(
      Self.blank(SectionHeader.byteCount) + entries.flatMap { $0.encode(version0: true) } + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    try ReplicasList.validate(entries, in: superblock, "bch_sb_field_replicas_v0")
  }
}

/// Sets of devices and how many of them are needed (`struct bch_sb_field_replicas`).
public struct ReplicasSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.replicas
  public var entries: [ReplicasEntry]
  /// What follows the last entry.
  public let slack: [UInt8]

  public init(entries: [ReplicasEntry]) {
    self.entries = entries
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    (entries, slack) = try ReplicasList.decode(bytes, version0: false, "bch_sb_field_replicas")
  }

  public func encode() -> [UInt8] {
    Self.finishedSection(
      Self.blank(SectionHeader.byteCount) + entries.flatMap { $0.encode(version0: false) } + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    try ReplicasList.validate(entries, in: superblock, "bch_sb_field_replicas")
  }
}

private enum ReplicasList {
  static func decode(
    _ bytes: RawSpan, version0: Bool, _ structure: StaticString
  ) throws(FormatError) -> (entries: [ReplicasEntry], slack: [UInt8]) {
    let head = version0 ? ReplicasEntry.Layout.v0ByteCount : ReplicasEntry.Layout.byteCount
    var entries: [ReplicasEntry] = []
    var offset = SectionHeader.byteCount
    while offset < bytes.byteCount {
      let dataType = DataType(rawValue: bytes[ReplicasEntry.Layout.dataType.at(offset)])
      if dataType.rawValue == 0 { break }
      guard offset + head <= bytes.byteCount else {
        throw FormatError(
          .truncated, structure, "entry", found: UInt64(bytes.byteCount),
          expected: UInt64(offset + head))
      }
      let first = offset + head
      let end = first + Int(bytes[ReplicasEntry.Layout.deviceCount.at(offset)])
      guard end <= bytes.byteCount else {
        throw FormatError(
          .truncated, structure, "entry", found: UInt64(bytes.byteCount), expected: UInt64(end))
      }
      entries.append(
        ReplicasEntry(
          dataType: dataType,
          requiredCount: version0 ? 1 : bytes[ReplicasEntry.Layout.requiredCount.at(offset)],
          devices: bytes.copyOfBytes(in: first..<end)))
      offset = end
    }
    return (entries, bytes.copyOfBytes(from: offset))
  }

  /// - Source: `bch2_cpu_replicas_validate`, replicas.c.
  static func validate(
    _ entries: [ReplicasEntry], in superblock: Superblock, _ structure: StaticString
  ) throws(FormatError) {
    for entry in entries {
      let count = UInt64(entry.devices.count)
      guard count > 0 else { throw FormatError(.invalid, structure, "nr_devs") }
      guard entry.requiredCount <= 1 || UInt64(entry.requiredCount) < count else {
        throw FormatError(
          .tooLarge, structure, "nr_required", found: UInt64(entry.requiredCount),
          expected: count - 1)
      }
      for device in entry.devices where device != Member.invalidDevice {
        guard superblock.member(at: Int(device))?.isAlive == true else {
          throw FormatError(.invalid, structure, "devs", found: UInt64(device))
        }
      }
    }
    let sorted = entries.map(\.sorted).sorted()
    for (entry, next) in zip(sorted, sorted.dropFirst()) where entry == next {
      throw FormatError(
        .duplicate, structure, "entry", found: UInt64(entry.dataType.rawValue))
    }
  }
}
