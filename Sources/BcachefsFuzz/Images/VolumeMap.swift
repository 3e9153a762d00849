// SPDX-License-Identifier: GPL-2.0
// Where everything of a good volume is: superblocks, journal, btree nodes, file contents.
//
// How it works
//   From the roots (of the clean section, or of the newest journal entry) down every pointer is
//   followed, and every copy noted.
// Invariants
//   (1) All nodes of a good volume can be taken apart, and sealing them changes nothing.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A copy of a btree node.
struct NodePlace {
  let btree: BTreeID
  let level: Int
  let device: Int
  let offset: UInt64
  /// What of it was written.
  let byteCount: Int
}

/// A range of a device.
struct DeviceRange {
  let device: Int
  let range: Range<UInt64>
}

struct VolumeMap {
  /// Copies of superblocks, whole.
  private(set) var superblocks: [DeviceRange] = []
  private(set) var journal: [DeviceRange] = []
  /// Entries of the journal, each copy, to its last byte; of clean volumes too.
  private(set) var journalEntries: [DeviceRange] = []
  private(set) var nodes: [NodePlace] = []
  private(set) var data: [DeviceRange] = []
  /// Keys of all btrees, as they are when unpacked, for the journal to bring.
  private(set) var keys: [(btree: BTreeID, level: Int, key: BKey, value: [UInt8])] = []
  /// Numbers that mean something here: inodes, snapshots, sectors, hashes.
  private(set) var numbers: [UInt64] = [0, 1, 4096, 4097]
  /// The btrees' roots as parts of a journal entry.
  private(set) var roots: [JSetEntry] = []
  /// Whether there are extents without a checksum.
  private(set) var hasUncheckedData = false

  private static let keyMax = 4000

  init(
    _ name: String, _ devices: [SimulatedDevice], _ superblocks: [Superblock],
    _ key: EncryptionKey?
  ) throws(FuzzFailure) {
    var entries: [(header: JSetHeader, bytes: [UInt8])] = []
    for (device, superblock) in superblocks.enumerated() {
      addSuperblocks(superblock, device)
      entries += addJournal(superblock, device, devices[device])
    }
    try findRoots(superblocks[0], entries, key)
    try check(!roots.isEmpty, "\(name): no roots")
    var index: [UInt8: Int] = [:]
    for (device, superblock) in superblocks.enumerated() { index[superblock.deviceIndex] = device }
    var pending: [(btree: BTreeID, level: Int, key: BKey, value: [UInt8])] = []
    for root in roots {
      guard case .keys(let bytes) = root.payload,
        let key = mayFail({ () throws(FormatError) in try BKey(decoding: bytes.rawBytes) })
      else { continue }
      pending.append((root.btree, Int(root.level), key, Array(bytes.dropFirst(40))))
    }
    var seen: Set<UInt64> = []
    while let next = pending.popLast() {
      guard seen.insert(Self.identity(next.value)).inserted else { continue }
      pending += try addNode(
        next, name, devices, superblocks[0], deviceOf: index, encryption: key)
    }
    try check(nodes.count > 10, "\(name): \(nodes.count) nodes")
  }

  private static func identity(_ value: [UInt8]) -> UInt64 {
    value.count >= 16 ? value.rawBytes.loadLittleEndian(at: 8, as: UInt64.self) : 0
  }

  private mutating func addSuperblocks(_ superblock: Superblock, _ device: Int) {
    let count = mayFail { () throws(FormatError) in UInt64(try superblock.encode().count) } ?? 4096
    for sector in superblock.layout.copySectors {
      superblocks.append(
        DeviceRange(device: device, range: sector * 512..<sector * 512 + count))
    }
  }

  // MARK: - Journal

  private mutating func addJournal(
    _ superblock: Superblock, _ device: Int, _ medium: SimulatedDevice
  ) -> [(header: JSetHeader, bytes: [UInt8])] {
    guard let section = superblock.section(of: JournalBucketRangesSection.self),
      let member = superblock.member(at: Int(superblock.deviceIndex))
    else { return [] }
    let blockBytes = Int(superblock.blockSizeSectors) * 512
    let bucketBytes = UInt64(member.bucketSizeSectors) * 512
    var found: [(header: JSetHeader, bytes: [UInt8])] = []
    for range in section.ranges {
      for bucket in range.start..<range.start + range.count {
        let start = bucket * bucketBytes
        journal.append(DeviceRange(device: device, range: start..<start + bucketBytes))
        let bytes = medium.contents(start..<start + bucketBytes)
        var at = 0
        while at + JSetHeader.Layout.byteCount <= bytes.count {
          let rest = bytes.rawBytes.extracting(at..<bytes.count)
          let header = mayFail { () throws(FormatError) in
            let header = try JSetHeader(decoding: rest)
            try header.validateEarly(magic: superblock.jsetMagic, bytesLeft: rest.byteCount)
            return header
          }
          guard let header else { break }
          found.append((header, rest.extracting(0..<header.byteCount).copied()))
          let end = start + UInt64(at + header.byteCount)
          journalEntries.append(DeviceRange(device: device, range: start + UInt64(at)..<end))
          at += (header.byteCount + blockBytes - 1) / blockBytes * blockBytes
        }
      }
    }
    return found
  }

  private mutating func findRoots(
    _ superblock: Superblock, _ journal: [(header: JSetHeader, bytes: [UInt8])],
    _ key: EncryptionKey?
  ) throws(FuzzFailure) {
    if superblock.isClean, let clean = superblock.section(of: CleanSection.self) {
      roots = clean.entries.filter { $0.type == .btreeRoot }.map {
        JSetEntry(.btreeRoot, btree: $0.btreeID, level: $0.level, .keys($0.payload))
      }
      return
    }
    guard let newest = journal.max(by: { $0.header.seq < $1.header.seq }) else { return }
    var bytes = newest.bytes
    JournalSeal.crypt(&bytes, newest.header, key)
    do throws(FormatError) {
      var entries = try JSetView(validating: bytes.rawBytes).entries
      while try entries.advance() {
        guard entries.current.type == .btreeRoot else { continue }
        roots.append(try JSetEntry(decoding: entries.current))
      }
    } catch {
      throw FuzzFailure("the newest journal entry: \(error)")
    }
  }

  // MARK: - Nodes

  /// - Returns: what an interior node points to.
  private mutating func addNode(
    _ pointer: (btree: BTreeID, level: Int, key: BKey, value: [UInt8]), _ name: String,
    _ devices: [SimulatedDevice], _ superblock: Superblock, deviceOf: [UInt8: Int],
    encryption: EncryptionKey?
  ) throws(FuzzFailure) -> [(btree: BTreeID, level: Int, key: BKey, value: [UInt8])] {
    let what = "\(name): node of \(pointer.btree) up to \(pointer.key.position)"
    let nodeBytes = Int(superblock[Superblock.Layout.btreeNodeSize]) * 512
    var editor: NodeEditor?
    do throws(FormatError) {
      let head = try BTreePtrV2(decoding: pointer.value.rawBytes)
      let count = head.sectorsWritten == 0 ? nodeBytes : Int(head.sectorsWritten) * 512
      var copies = try ExtentEntries(key: pointer.key, value: pointer.value.rawBytes).pointers
      while let copy = copies.next() {
        guard let device = deviceOf[copy.ptr.device] else { continue }
        let offset = copy.ptr.offset * 512
        nodes.append(
          NodePlace(
            btree: pointer.btree, level: pointer.level, device: device, offset: offset,
            byteCount: count))
        numbers.append(copy.ptr.word)
        guard editor == nil else { continue }
        let bytes = devices[device].contents(offset..<offset + UInt64(count))
        editor = try NodeEditor(
          bytes, blockBytes: Int(superblock.blockSizeSectors) * 512, key: encryption)
        if editor?.sealed() != bytes { throw FormatError(.badChecksum, "fuzz", "sealed node") }
      }
    } catch {
      throw FuzzFailure("\(what): \(error)")
    }
    guard let editor else { return [] }
    var children: [BPos: (btree: BTreeID, level: Int, key: BKey, value: [UInt8])] = [:]
    for place in editor.places {
      let value = Array(editor.bytes[place.value])
      note(pointer.btree, pointer.level, place.key, value, deviceOf)
      guard pointer.level > 0 else { continue }
      children[place.key.position] =
        place.key.type == .deleted
        ? nil : (pointer.btree, pointer.level - 1, place.key, value)
    }
    return Array(children.values)
  }

  private mutating func note(
    _ btree: BTreeID, _ level: Int, _ key: BKey, _ value: [UInt8], _ deviceOf: [UInt8: Int]
  ) {
    if keys.count < Self.keyMax { keys.append((btree, level, key, value)) }
    if numbers.count < 500 {
      numbers += [key.position.inode, key.position.offset, UInt64(key.position.snapshot)]
    }
    guard level == 0, key.type == .extent || key.type == .reflinkV else { return }
    _ = mayFail { () throws(FormatError) in
      var pointers = try ExtentEntries(key: key, value: value.rawBytes).pointers
      while let found = pointers.next() {
        guard let device = deviceOf[found.ptr.device] else { continue }
        if ChecksumType(rawValue: found.crc.checksumType) == .none { hasUncheckedData = true }
        let start = found.ptr.offset * 512
        let size = UInt64(max(found.crc.compressedSize, 1)) * 512
        data.append(DeviceRange(device: device, range: start..<start + size))
      }
    }
  }
}

/// Journal entries, sealed.
enum JournalSeal {
  /// Encrypts or decrypts, where the entry is encrypted.
  static func crypt(_ bytes: inout [UInt8], _ header: JSetHeader, _ key: EncryptionKey?) {
    guard ChecksumType(rawValue: header.checksumType).isEncryption, let key,
      header.byteCount <= bytes.count
    else { return }
    var span = bytes.mutableRawBytes
    var part = span._mutatingExtracting(header.encryptedRange)
    key.applyChaCha20(to: &part, nonce: header.nonce)
  }

  /// Encrypts and puts the checksum right, if the header lets one say what it covers.
  static func seal(_ bytes: inout [UInt8], _ key: EncryptionKey?) {
    guard
      let header = mayFail({ () throws(FormatError) in try JSetHeader(decoding: bytes.rawBytes) }),
      header.byteCount <= bytes.count
    else { return }
    crypt(&bytes, header, key)
    let checksum = mayFail { () throws(ChecksumError) in
      try ChecksumType(rawValue: header.checksumType).checksum(
        bytes.rawBytes.extracting(header.checksummedRange), key: key, nonce: header.nonce)
    }
    guard let checksum else { return }
    bytes.put(checksum.lo, at: 0)
    bytes.put(checksum.hi, at: 8)
  }
}
