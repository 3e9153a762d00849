// SPDX-License-Identifier: GPL-2.0
// Btree nodes and journal entries out of whole volumes: those that the driver filled, and one that
// our image builder makes. On the way everything in them is checked: these are right.
//
// How it works
//   1. The superblock names the btrees' roots, in its clean section; after a crash the newest
//      journal entry does.
//   2. From each root down every node is read, its checksums are verified, its keys walked.
//   3. Journal entries are looked for at every block of the journal's buckets.
// Invariants
//   (1) In a right node keys ascend within a bset, lie within the node's bounds, and are valid.
//   (2) A node is what the key that points to it says: range, level, btree, sequence.
// On disk: encrypted volumes are left out.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A btree node as it was written.
struct NodeSample {
  let bytes: [UInt8]
  let blockBytes: Int
}

/// What volumes are made of.
struct VolumeSamples {
  private(set) var nodes: [NodeSample] = []
  private(set) var journalEntries: [[UInt8]] = []

  init(_ corpus: Corpus) throws(FuzzFailure) {
    var volumes: [[UInt8]] = [try Self.build(corpus)]
    // Ours counts alone: it must not hide behind the driver's.
    try add(volumes.removeLast())
    try check(nodes.count > 20, "our volume has only \(nodes.count) btree nodes")
    try corpus.forEachFixture { (image) throws(FuzzFailure) in try add(image) }
    try check(!journalEntries.isEmpty, "no journal entries in the fixtures")
  }

  /// Adds all of one device's image.
  private mutating func add(_ image: [UInt8]) throws(FuzzFailure) {
    let bytes = image.rawBytes
    let superblock = try mustWork("the superblock of a volume") { () throws(FormatError) in
      let start = Int(SuperblockLayout.defaultSuperblockSector) * 512
      let superblock = try Superblock(decoding: bytes.extracting(start..<bytes.byteCount))
      try superblock.validate()
      return superblock
    }
    guard superblock[Superblock.Layout.encryptionType] == 0 else { return }
    let journal = findJournal(bytes, superblock)
    var reader = NodeReader(image: bytes, superblock: superblock)
    if let clean = superblock.section(of: CleanSection.self) {
      for entry in clean.entries where entry.type == .btreeRoot {
        try reader.readRoot(entry.btreeID, level: Int(entry.level), entry.payload)
      }
    } else if let newest = journal.max(by: { $0.seq < $1.seq }) {
      try reader.readRoots(journalEntry: newest.bytes)
    }
    for sample in reader.samples { nodes.append(sample) }
    for entry in journal {
      try JSetFuzzer.walk(entry.bytes.rawBytes, printing: true)
      journalEntries.append(entry.bytes)
    }
  }

  private func findJournal(
    _ image: RawSpan, _ superblock: Superblock
  ) -> [(seq: UInt64, bytes: [UInt8])] {
    guard let section = superblock.section(of: JournalBucketRangesSection.self),
      let member = superblock.member(at: Int(superblock.deviceIndex))
    else { return [] }
    let blockBytes = Int(superblock.blockSizeSectors) * 512
    let bucketBytes = Int(member.bucketSizeSectors) * 512
    var found: [(seq: UInt64, bytes: [UInt8])] = []
    for range in section.ranges {
      for bucket in Int(range.start)..<Int(range.start + range.count) {
        let end = min((bucket + 1) * bucketBytes, image.byteCount)
        var at = bucket * bucketBytes
        while at + blockBytes <= end {
          let here = image.extracting(at..<end)
          let header = mayFail { () throws(FormatError) in
            let header = try JSetHeader(decoding: here)
            try header.validateEarly(magic: superblock.jsetMagic, bytesLeft: here.byteCount)
            return header
          }
          if let header {
            found.append((header.seq, here.extracting(0..<header.byteCount).copied()))
          }
          at += blockBytes
        }
      }
    }
    return found
  }

  /// A volume of the golden files, with small nodes so that btrees have several levels.
  private static func build(_ corpus: Corpus) throws(FuzzFailure) -> [UInt8] {
    let byteCount: UInt64 = 64 << 20
    var configuration = SimulatedDevice.Configuration()
    configuration.recordsOperations = false
    let medium = SimulatedDevice(byteCount: byteCount, configuration: configuration)
    let device = try mustWork("open") { () throws(DeviceError) in
      try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
    }
    var format = VolumeFormat(devices: [DeviceFormat(name: "fuzz", byteCount: byteCount)])
    format.options[.btreeNodeSize] = 4096
    format.timeNanoseconds = 1_700_000_000_000_000_000
    var request = ImageBuildRequest(
      sourcePath: corpus.sourcePath, format: format, fitsDevices: false)
    request.isReproducible = true
    var builder = ImageBuilder(request, random: RandomSource(seed: 1))
    do throws(ImageError) {
      _ = try builder.build(on: [device])
    } catch {
      throw FuzzFailure("building a volume: \(error)")
    }
    var image = [UInt8](repeating: 0, count: Int(device.byteCount))
    try mustWork("reading the volume") { () throws(DeviceError) in
      var span = image.mutableRawBytes
      try device.read(into: &span, atByte: 0)
    }
    return image
  }
}

/// Follows pointers to btree nodes, and checks what it finds.
struct NodeReader: ~Escapable {
  private let image: RawSpan
  private let superblock: Superblock
  private(set) var samples: [NodeSample] = []

  @_lifetime(copy image)
  init(image: RawSpan, superblock: Superblock) {
    self.image = image
    self.superblock = superblock
  }

  /// - Parameter payload: The key that points to the root, with its value.
  mutating func readRoot(
    _ btree: BTreeID, level: Int, _ payload: [UInt8]
  ) throws(FuzzFailure) {
    var pending: [(btree: BTreeID, level: Int, key: BKey, value: [UInt8])] = []
    let root = try mustWork("the root of \(btree)") { () throws(FormatError) in
      try BKey(decoding: payload.rawBytes)
    }
    pending.append((btree, level, root, Array(payload.dropFirst(BKey.Layout.byteCount))))
    while let next = pending.popLast() {
      let children = try readNode(next.btree, level: next.level, next.key, next.value)
      for child in children { pending.append((btree, next.level - 1, child.key, child.value)) }
    }
  }

  mutating func readRoots(journalEntry: [UInt8]) throws(FuzzFailure) {
    var roots: [(BTreeID, Int, [UInt8])] = []
    do throws(FormatError) {
      var entries = try JSetView(validating: journalEntry.rawBytes).entries
      while try entries.advance() {
        let entry = entries.current
        guard entry.type == .btreeRoot else { continue }
        roots.append((entry.btree, Int(entry.level), entry.payload.copied()))
      }
    } catch {
      throw FuzzFailure("the newest journal entry: \(error)")
    }
    for (btree, level, payload) in roots { try readRoot(btree, level: level, payload) }
  }

  /// - Returns: the keys of an interior node, later bsets over earlier ones.
  private mutating func readNode(
    _ btree: BTreeID, level: Int, _ key: BKey, _ value: [UInt8]
  ) throws(FuzzFailure) -> [(key: BKey, value: [UInt8])] {
    let what = "node of \(btree) at \(key.position) level \(level)"
    let blockBytes = Int(superblock.blockSizeSectors) * 512
    guard let (pointer, head) = try pointer(key, value, what) else { return [] }
    let start = Int(pointer.offset) * 512
    let nodeBytes = Int(superblock[Superblock.Layout.btreeNodeSize]) * 512
    let written = head.sectorsWritten == 0 ? nodeBytes : Int(head.sectorsWritten) * 512
    try check(start + written <= image.byteCount, "\(what) lies beyond the device")
    let bytes = image.extracting(start..<start + written)
    let header = try mustWork(what) { () throws(FormatError) in
      try BTreeNodeHeader(decoding: bytes)
    }
    try check(header.magic == superblock.bsetMagic, "\(what): magic")
    try check(header.btree == btree && header.level == level, "\(what): is another one")
    try check(header.bset.sequence == head.seq, "\(what): sequence")
    try check(header.maxKey == key.position, "\(what): ends at \(header.maxKey)")
    try check(
      head.isRangeUpdated || header.minKey == head.minKey, "\(what): starts at \(header.minKey)")
    samples.append(NodeSample(bytes: bytes.copied(), blockBytes: blockBytes))
    var children: [BPos: (key: BKey, value: [UInt8])] = [:]
    do throws(FormatError) {
      try NodeWalk.walk(bytes, blockBytes: blockBytes, verifying: true) {
        (found, value) throws(FormatError) in
        let bounds =
          head.isRangeUpdated ? head.minKey...key.position : header.minKey...header.maxKey
        if !bounds.contains(found.position), !head.isRangeUpdated {
          throw FormatError(.outOfOrder, "fuzz", "key outside of its node")
        }
        guard found.type != .deleted else {
          children[found.position] = nil
          return
        }
        try BKeyValue.validate(key: found, value: value, btree: btree, level: level)
        _ = BKeyValue.text(key: found, value: value)
        if level > 0 { children[found.position] = (found, value.copied()) }
      }
    } catch {
      throw FuzzFailure("\(what): \(error)")
    }
    return children.keys.sorted().compactMap { children[$0] }
  }

  /// The pointer to this device, if there is one.
  private func pointer(
    _ key: BKey, _ value: [UInt8], _ what: String
  ) throws(FuzzFailure) -> (ExtentPtr, BTreePtrV2)? {
    do throws(FormatError) {
      let head = try BTreePtrV2(decoding: value.rawBytes)
      var pointers = try ExtentEntries(key: key, value: value.rawBytes).pointers
      while let pointer = pointers.next() {
        if pointer.ptr.device == superblock.deviceIndex { return (pointer.ptr, head) }
      }
      return nil
    } catch {
      throw FuzzFailure("pointer to \(what): \(error)")
    }
  }
}
