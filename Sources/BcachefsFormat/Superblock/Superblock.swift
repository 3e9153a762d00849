// SPDX-License-Identifier: GPL-2.0
// The superblock: what a volume is, told by every one of its devices several times.
//
// How it works
//   1. A fixed header of 752 bytes (checksum, versions, UUIDs, options as bit fields, times, the
//      layout of the copies) is followed by sections, each with its size and type.
//   2. init(decoding:) takes a copy apart: magic, versions, size, checksum, header, sections. What
//      it returns is well formed, not yet believed; validate(forWrite:) checks values against each
//      other, as upstream does before it uses or writes a superblock.
//   3. encode() puts it together again, with a new checksum.
//   4. Of several copies the newest valid one counts: newestIndex(of:).
// Invariants
//   (1) encode() of a decoded superblock gives the bytes that it was decoded from, slack and
//       unknown sections included.
//   (2) `sections` has its order from disk; a new section goes to the end.
//   (3) Lists of members have `deviceCount` entries (checked by validate).
// Source: `struct bch_sb`, bcachefs_format.h; super-io.c.

public import BcachefsSupport

/// A superblock (`struct bch_sb`) with its sections.
public struct Superblock: Hashable, Sendable {
  /// As read; which type it is stands in `flags`. `encode` makes a new one.
  public internal(set) var checksum: Checksum128
  /// The format version of the volume.
  public var version: MetadataVersion
  /// The oldest version that any metadata in the volume was written in.
  public var versionMin: MetadataVersion
  /// Bytes 20 to 23.
  public var reserved: UInt32
  public var magic: UUID
  /// Never changes; devices and structures are told apart by it.
  public var uuid: UUID
  /// What users see; may be changed.
  public var userUUID: UUID
  public var label: DiskLabel
  /// The 512-byte sector in which this copy stands.
  public var sector: UInt64
  /// Counts the times the superblock was written.
  public var seq: UInt64
  /// In 512-byte sectors.
  public var blockSizeSectors: UInt16
  /// Index of the device on which this copy stands.
  public var deviceIndex: UInt8
  /// Slots for devices in the lists of members (`nr_devices`).
  public var deviceCount: UInt8
  /// Nanoseconds since 1970 that times in inodes count from; when the volume was made.
  public var timeBaseLow: UInt64
  public var timeBaseHigh: UInt32
  /// Nanoseconds in one unit of an inode's times.
  public var timePrecision: UInt32
  /// Seven words: options and state, in bit fields named in `Layout`.
  public internal(set) var flags: [UInt64]
  /// Seconds since 1970.
  public var writeTime: UInt64
  /// Two words; `featureMask` is the first.
  public var features: [UInt64]
  /// Two words; `compatMask` is the first.
  public var compat: [UInt64]
  public var layout: SuperblockLayout
  public var sections: [SuperblockSection]

  /// An empty superblock of this version: no devices, no sections, every option zero.
  public init(
    version: MetadataVersion = .native, uuid: UUID, userUUID: UUID, layout: SuperblockLayout
  ) {
    checksum = .zero
    self.version = version
    versionMin = version
    reserved = 0
    magic = SuperblockMagic.bcachefs
    self.uuid = uuid
    self.userUUID = userUUID
    label = .empty
    sector = layout.copySectors.first ?? SuperblockLayout.defaultSuperblockSector
    seq = 0
    blockSizeSectors = 1
    deviceIndex = 0
    deviceCount = 0
    timeBaseLow = 0
    timeBaseHigh = 0
    timePrecision = 1
    flags = [UInt64](repeating: 0, count: 7)
    writeTime = 0
    features = [0, 0]
    compat = [0, 0]
    self.layout = layout
    sections = []
  }

  // MARK: Bit fields

  /// A bit field of `flags`, named in `Layout`.
  public subscript(bits: LEBits<UInt64>) -> UInt64 {
    get { bits.get(flags[Self.flagsWord(bits)]) }
    set {
      let word = Self.flagsWord(bits)
      flags[word] = bits.setting(flags[word], to: newValue & bits.max)
    }
  }

  private static func flagsWord(_ bits: LEBits<UInt64>) -> Int {
    let word = (bits.field.offset - Layout.flags.offset) / 8
    assert((0..<7).contains(word), "not a bit field of bch_sb.flags")
    return word
  }

  /// The options that the superblock keeps.
  public var optionWords: SuperblockOptionWords {
    get {
      var words = SuperblockOptionWords(blockSizeSectors: blockSizeSectors)
      for index in flags.indices.prefix(7) { words.flags[index] = flags[index] }
      return words
    }
    set {
      for index in flags.indices.prefix(7) { flags[index] = newValue.flags[index] }
      blockSizeSectors = newValue.blockSizeSectors
    }
  }

  public var featureMask: PersistentMask<SuperblockFeature> {
    get { PersistentMask(rawValue: features[0]) }
    set { features[0] = newValue.rawValue }
  }

  public var compatMask: PersistentMask<SuperblockCompatFeature> {
    get { PersistentMask(rawValue: compat[0]) }
    set { compat[0] = newValue.rawValue }
  }

  /// Unmounted in order: the clean section tells the truth.
  public var isClean: Bool {
    get { self[Layout.clean] != 0 }
    set { self[Layout.clean] = newValue ? 1 : 0 }
  }

  /// Has been mounted read-write once: its btrees exist.
  public var isInitialized: Bool {
    get { self[Layout.initialized] != 0 }
    set { self[Layout.initialized] = newValue ? 1 : 0 }
  }

  /// Compression of new data: type in the low, level in the high 4 bits.
  public var compressionOption: UInt64 {
    get { self[Layout.compressionTypeLow] | self[Layout.compressionTypeHigh] << 4 }
    set {
      self[Layout.compressionTypeLow] = newValue & 15
      self[Layout.compressionTypeHigh] = newValue >> 4 & 15
    }
  }

  /// Compression of data at rest: type in the low, level in the high 4 bits.
  public var backgroundCompressionOption: UInt64 {
    get {
      self[Layout.backgroundCompressionTypeLow] | self[Layout.backgroundCompressionTypeHigh] << 4
    }
    set {
      self[Layout.backgroundCompressionTypeLow] = newValue & 15
      self[Layout.backgroundCompressionTypeHigh] = newValue >> 4 & 15
    }
  }

  // MARK: What other structures start with

  /// The magic of this volume's journal entries (`jset_magic`).
  public var jsetMagic: UInt64 { uuid.lo ^ 0x2452_35c1_a362_5032 }
  /// The magic of this volume's btree nodes (`bset_magic`).
  public var bsetMagic: UInt64 { uuid.lo ^ BTreeNodeHeader.magicBase }

  // MARK: Sections

  /// The first section of a type.
  public func section(_ type: SuperblockSectionType) -> SuperblockSection? {
    sections.first { $0.type == type }
  }

  /// The first section whose contents are of this kind, as in `section(of: CleanSection.self)`.
  public func section<Contents: SuperblockSectionContents>(of kind: Contents.Type) -> Contents? {
    section(kind.type)?.contents as? Contents
  }

  /// Puts a section in the place of the one of its type, or at the end.
  public mutating func setSection(_ section: SuperblockSection) {
    if let index = sections.firstIndex(where: { $0.type == section.type }) {
      sections[index] = section
    } else {
      sections.append(section)
    }
  }

  /// Removes all sections of a type.
  public mutating func removeSection(_ type: SuperblockSectionType) {
    sections.removeAll { $0.type == type }
  }

  // MARK: Members

  /// All slots for devices, from `members_v2` if there is one.
  public var members: [Member] {
    if let section = section(of: MembersV2Section.self) { return section.members }
    return section(of: MembersV1Section.self)?.members ?? []
  }

  /// The slot of a device, nil beyond the last; `isAlive` tells whether a device is in it.
  public func member(at index: Int) -> Member? {
    let members = members
    return members.indices.contains(index) ? members[index] : nil
  }

  /// How many slots hold a device (`bch2_sb_nr_devices`).
  public var aliveDeviceCount: Int { members.count(where: \.isAlive) }

  /// Replaces the members, in both lists; `deviceCount` follows.
  ///
  /// - Parameter members: By device index, at most 64.
  public mutating func setMembers(_ members: [Member]) {
    deviceCount = UInt8(clamping: members.count)
    setSection(.membersV2(MembersV2Section(members: members)))
    setSection(.membersV1(MembersV1Section(members: members)))
  }

  /// The replicas entries, from whichever section has them (`bch2_sb_replicas_to_cpu_replicas`).
  public var replicas: [ReplicasEntry] {
    if let section = section(of: ReplicasSection.self) { return section.entries }
    return section(of: ReplicasV0Section.self)?.entries ?? []
  }

  /// Replaces the replicas entries, sorted, in the older section when it can hold them
  /// (`bch2_cpu_replicas_to_sb_replicas`).
  public mutating func setReplicas(_ entries: [ReplicasEntry]) {
    let sorted = entries.map(\.sorted).sorted()
    if sorted.allSatisfy({ $0.requiredCount == 1 }) {
      removeSection(.replicas)
      setSection(.replicasV0(ReplicasV0Section(entries: sorted)))
    } else {
      removeSection(.replicasV0)
      setSection(.replicas(ReplicasSection(entries: sorted)))
    }
  }

  /// Which types of data stand on a device, as the replicas entries have it
  /// (`bch2_sb_dev_has_data`).
  public func dataTypes(onDevice index: UInt8) -> PersistentMask<DataType> {
    var types: PersistentMask<DataType> = []
    for entry in replicas where entry.devices.contains(index) { types.insert(entry.dataType) }
    return types
  }

  // MARK: Copies

  /// Which of several copies counts: the one written last, of equals the first.
  ///
  /// - Parameter copies: The copies in the order of the layout, nil for those that are not valid.
  /// - Returns: An index into `copies`; nil when none is valid.
  public static func newestIndex(of copies: [Superblock?]) -> Int? {
    var best: (index: Int, seq: UInt64)?
    for (index, copy) in copies.enumerated() {
      guard let copy else { continue }
      if let best, copy.seq <= best.seq { continue }
      best = (index, copy.seq)
    }
    return best?.index
  }
}
