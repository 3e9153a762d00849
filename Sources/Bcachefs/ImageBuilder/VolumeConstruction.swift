// SPDX-License-Identifier: GPL-2.0
// A volume under construction: its devices' buckets, its writers, and how it is brought to an end.
//
// How it works
//   1. Superblock copies and journal buckets are marked, contiguous from the start of each device.
//   2. Data and metadata have a write point each, with the devices of their targets first.
//   3. `finish` builds what is left, cuts devices that are to fit, fills in the superblock
//      (members, journal, replicas, clean section) and writes it.
// Invariants
//   (1) The journal is empty, and the clean section's sequence number is the nodes': the driver
//       starts its journal behind it.
// Source: journal.c (bch2_dev_journal_alloc), sb-clean.c, sb-members.c (btree bitmap).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct VolumeConstruction {
  private static let journalSequence: UInt64 = 1

  private let format: VolumeFormat
  private let devices: [BlockDevice]
  private let fitsDevices: Bool
  private let spaces: [BucketSpace]
  private let spools: [BackpointerSpool]
  private let journals: [Range<UInt64>]
  private let nodes: NodeWriter
  let dataParameters: DataParameters
  let assembler: TreeAssembler
  /// What the hash seeds of all inodes derive from.
  let hashSeed: UInt64
  /// Files are read in parts of this many bytes: whole chunks.
  let partBytes: Int

  init(
    format: VolumeFormat, volume: FormattedVolume, devices: [BlockDevice], fitsDevices: Bool,
    temporaryDirectory: String?, random: inout RandomSource
  ) throws(ImageError) {
    self.format = format
    self.devices = devices
    self.fitsDevices = fitsDevices
    spaces = VolumeConstruction.makeSpaces(format, fitsDevices: fitsDevices)
    journals = try VolumeConstruction.markReserved(
      spaces, format, volume, fitsDevices: fitsDevices)
    spools = spaces.map { _ in BackpointerSpool(temporaryDirectory: temporaryDirectory) }
    let byIndex = Dictionary(
      uniqueKeysWithValues: devices.enumerated().map { (UInt8($0.offset), $0.element) })
    let targets = DiskTargets(format: format, volume: volume, spaces: spaces)
    nodes = NodeWriter(
      parameters: VolumeConstruction.metadataParameters(volume),
      journalSequence: VolumeConstruction.journalSequence, devices: byIndex,
      writePoint: targets.writePoint(
        .btree, targets: [.metadataTarget], replicas: volume.options[.metadataReplicas]),
      sequenceSeed: random.next())
    dataParameters = VolumeConstruction.dataParameters(volume)
    partBytes =
      max(BuildBatch.dataBytes / dataParameters.chunkMaxBytes, 1) * dataParameters.chunkMaxBytes
    let data = DataWriter(
      parameters: dataParameters,
      writePoint: targets.writePoint(
        .user, targets: [.backgroundTarget, .foregroundTarget],
        replicas: volume.options[.dataReplicas]),
      devices: byIndex,
      spools: Dictionary(
        uniqueKeysWithValues: spools.enumerated().map { (UInt8($0.offset), $0.element) }))
    assembler = TreeAssembler(data: data, nodes: nodes)
    hashSeed = random.next()
  }

  var progress: BuildProgress { assembler.progress }

  // MARK: - Parameters

  private static func metadataParameters(_ volume: FormattedVolume) -> MetadataParameters {
    let option = ChecksumOption(rawValue: UInt8(volume.options[.metadataChecksum]))
    let type: ChecksumType =
      volume.key == nil
      ? ChecksumType(rawValue: option.metadataChecksumType ?? 0) : .chacha20Poly1305
    return MetadataParameters(
      superblockMagic: volume.superblock.uuid.lo, checksumType: type, key: volume.key,
      blockBytes: Int(volume.options[.blockSize]),
      nodeBytes: Int(volume.options[.btreeNodeSize]), version: volume.superblock.version.rawValue)
  }

  private static func dataParameters(_ volume: FormattedVolume) -> DataParameters {
    let options = volume.options
    // At rest data is to be what background_compression says: here it comes to rest at once.
    let background = CompressionOption(rawValue: UInt8(options[.backgroundCompression]))
    let foreground = CompressionOption(rawValue: UInt8(options[.compression]))
    return DataParameters(
      options, key: volume.key, isNocow: options.isOn(.nocow),
      compression: background.algorithm == CompressionKind.none ? foreground : background,
      checksum: ChecksumOption(rawValue: UInt8(options[.dataChecksum])))
  }

  // MARK: - Space

  private static func makeSpaces(_ format: VolumeFormat, fitsDevices: Bool) -> [BucketSpace] {
    format.devices.enumerated().map { index, device in
      let bucketBytes = device.bucketBytes ?? 1
      return BucketSpace(
        device: UInt8(index), bucketSectors: UInt32(bucketBytes / 512),
        durability: Int(device.durability),
        bucketLimit: fitsDevices ? Member.maxBucketCount : device.byteCount / bucketBytes)
    }
  }

  /// Marks superblocks and journal.
  ///
  /// - Returns: the journal's buckets on each device.
  private static func markReserved(
    _ spaces: [BucketSpace], _ format: VolumeFormat, _ volume: FormattedVolume, fitsDevices: Bool
  ) throws(ImageError) -> [Range<UInt64>] {
    var journals: [Range<UInt64>] = []
    for (index, space) in spaces.enumerated() {
      let layout = volume.layouts[index]
      let copies = fitsDevices ? layout.copySectors.dropLast() : layout.copySectors
      for sectors in ReservedBuckets.superblockSectors(layout, copies: copies) {
        markSectors(space, sectors)
      }
      journals.append(try takeJournal(space, format.devices[index]))
    }
    return journals
  }

  private static func markSectors(_ space: BucketSpace, _ sectors: Range<UInt64>) {
    let parts = ReservedBuckets.buckets(
      of: sectors, bucketSectors: UInt64(space.bucketSectors), limit: space.bucketLimit)
    for (bucket, sectors) in parts { space.mark(bucket, .sb, sectors: sectors) }
  }

  private static func takeJournal(
    _ space: BucketSpace, _ device: DeviceFormat
  ) throws(ImageError) -> Range<UInt64> {
    let count = ReservedBuckets.journalBucketCount(
      bucketCount: device.byteCount / (device.bucketBytes ?? 1),
      bucketSectors: UInt64(space.bucketSectors))
    var first: UInt64?
    for _ in 0..<count {
      guard let bucket = space.take() else { throw .noSpace }
      space.mark(bucket, .journal, sectors: space.bucketSectors)
      first = first ?? bucket
    }
    let start = first ?? 0
    return start..<start + count
  }

  // MARK: - The end

  /// Builds the rest, and writes the superblocks.
  mutating func finish(into volume: inout FormattedVolume) throws(ImageError) {
    var roots = try assembler.finish()
    roots.append(contentsOf: try buildSnapshots())
    var tally = assembler.tally
    for place in nodes.places {
      tally.addNode(place.btree, place.pointers, nodeSectors: nodes.nodeSectors)
    }
    var tables = AllocationTables(
      writer: nodes, spaces: spaces, spools: spools,
      bucketCounts: spaces.map { fitsDevices ? nil : $0.bucketLimit },
      lateBuckets: lateBucketsPerDevice.reduce(0, +))
    try tables.plan(tally: tally)
    let bucketCounts = try settleDevices(&volume)
    let (tableRoots, complete) = try tables.build(tally: tally, bucketCounts: bucketCounts)
    roots.append(contentsOf: tableRoots)
    for device in devices {
      try usingDevice { () throws(DeviceError) in try device.flush() }
    }
    try fillIn(&volume.superblock, roots, complete, bucketCounts)
    volume.journals = journals
    try volume.write(to: devices)
  }

  private func buildSnapshots() throws(ImageError) -> [BTreeBuilder.Root] {
    var roots: [BTreeBuilder.Root] = []
    for first in NewVolume.keys {
      let builder = BTreeBuilder(first.btree, writer: nodes)
      try unsafe builder.add(first.key, first.words.span.bytes)
      if let root = try builder.finish() { roots.append(root) }
    }
    return roots
  }

  // MARK: - Devices that fit

  /// Buckets that the backup superblock at the end of each device takes.
  private var lateBucketsPerDevice: [Int] {
    guard fitsDevices else { return spaces.map { _ in 0 } }
    return spaces.map { space in
      let sectors = Int(format.superblockBytes / 512)
      return (sectors + Int(space.bucketSectors) - 1) / Int(space.bucketSectors)
    }
  }

  /// Settles where devices end, and marks their last superblocks.
  ///
  /// - Returns: the buckets of each device.
  private func settleDevices(_ volume: inout FormattedVolume) throws(ImageError) -> [UInt64] {
    guard fitsDevices else { return spaces.map(\.bucketLimit) }
    var counts: [UInt64] = []
    var members = volume.superblock.members
    for (index, space) in spaces.enumerated() {
      // Room to mount it and change it: reserves, and an eighth more than is used.
      let bucketBytes = UInt64(space.bucketSectors) * 512
      let used = space.highestUsedBucket
      let spare = max(used / 8, 128, (64 << 20) / bucketBytes)
      let count = max(
        used + spare + UInt64(lateBucketsPerDevice[index]), VolumeFormat.minBucketCount)
      let layout = try encoding { () throws(FormatError) in
        try SuperblockLayout(
          deviceSectors: count * UInt64(space.bucketSectors),
          bucketSizeSectors: UInt64(space.bucketSectors),
          blockSizeSectors: volume.options[.blockSize] / 512,
          superblockSectors: format.superblockBytes / 512)
      }
      if let last = layout.copySectors.last {
        VolumeConstruction.markSectors(space, last..<last + UInt64(layout.maxByteCount / 512))
      }
      volume.layouts[index] = layout
      members[index].bucketCount = count
      try usingDevice { () throws(DeviceError) in
        try devices[index].resize(toByteCount: count * bucketBytes)
      }
      counts.append(count)
    }
    volume.superblock.setMembers(members)
    return counts
  }

  // MARK: - Superblock

  private func fillIn(
    _ superblock: inout Superblock, _ roots: [BTreeBuilder.Root], _ tally: AccountingTally,
    _ bucketCounts: [UInt64]
  ) throws(ImageError) {
    var members = superblock.members
    for index in members.indices {
      members[index].freespaceInitialized = true
      setNodeBitmap(&members[index], device: UInt8(index), bucketCount: bucketCounts[index])
    }
    superblock.setMembers(members)
    superblock.setReplicas(
      tally.replicasEntries.map {
        ReplicasEntry(
          dataType: DataType(rawValue: $0.dataType), requiredCount: $0.required,
          devices: $0.devices)
      })
    superblock.setSection(.ext(ExtSection()))
    superblock.setSection(
      .clean(CleanSection(journalSeq: Self.journalSequence, entries: cleanEntries(roots))))
    superblock.isInitialized = true
    superblock.isClean = true
    superblock[Superblock.Layout.versionUpgradeComplete] = UInt64(superblock.version.rawValue)
    // A clean volume does not name the two features that only matter to a journal's replay.
    superblock.featureMask.remove(.extentsAboveBtreeUpdates)
    superblock.featureMask.remove(.btreeUpdatesJournalled)
    if assembler.usesInlineData { superblock.featureMask.insert(.inlineData) }
    for type in assembler.compressionTypes {
      if let feature = CompressionType(rawValue: type).feature {
        superblock.featureMask.insert(feature)
      }
    }
    superblock.compatMask = [
      .allocInfo, .allocMetadata, .extentsAboveBtreeUpdatesDone, .bformatOverflowDone,
    ]
    superblock.seq = 1
    superblock.writeTime = UInt64(clamping: format.timeNanoseconds / 1_000_000_000)
  }

  /// Which 64ths of the device hold btree nodes, for those that search for lost ones.
  private func setNodeBitmap(_ member: inout Member, device: UInt8, bucketCount: UInt64) {
    var highest: UInt64 = 0
    let sectors = UInt64(nodes.nodeSectors)
    let pointers = nodes.places.lazy.flatMap(\.pointers).filter { $0.device == device }
    for pointer in pointers { highest = max(highest, pointer.offset + sectors) }
    var shift: UInt8 = 0
    while (64 as UInt64) << UInt64(shift) < highest { shift += 1 }
    var bitmap: UInt64 = 0
    for pointer in pointers {
      for bit
        in (pointer.offset >> UInt64(shift))...((pointer.offset + sectors - 1) >> UInt64(shift))
      { bitmap |= 1 << bit }
    }
    member.btreeBitmapShift = shift
    member.btreeAllocatedBitmap = bitmap
  }

  private func cleanEntries(_ roots: [BTreeBuilder.Root]) -> [CleanEntry] {
    var entries: [CleanEntry] = []
    entries.append(
      CleanEntry(
        type: .usage, btreeID: BTreeID(rawValue: FilesystemUsageType.keyVersion.rawValue),
        payload: words([assembler.maxKeyVersion])))
    for direction in 0..<2 {
      // The device's I/O clocks, in sectors: both have only begun.
      entries.append(CleanEntry(type: .clock, payload: words([UInt64(direction), 1])))
    }
    for root in roots.sorted(by: { $0.btree < $1.btree }) {
      var header = [UInt8](repeating: 0, count: BKey.Layout.byteCount)
      var bytes = header.mutableRawBytes
      root.key.encode(into: &bytes)
      entries.append(
        CleanEntry(
          type: .btreeRoot, btreeID: root.btree, level: UInt8(root.level),
          payload: header + words(root.value)))
    }
    return entries
  }

  private func words(_ values: [UInt64]) -> [UInt8] {
    values.flatMap { value in
      (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }
  }
}
