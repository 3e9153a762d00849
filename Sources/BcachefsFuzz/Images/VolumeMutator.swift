// SPDX-License-Identifier: GPL-2.0
// Changes to a volume: damage that checksums must find, and lies that they confirm.
//
// How it works
//   1. Damage: bytes, sectors (zeros, noise, another place's) and ends of devices, in superblocks,
//      journal, nodes, contents, or anywhere. Checksums stay as they were.
//   2. Lies: a field of a superblock, btree node or journal entry gets another value, often one
//      that means something elsewhere in the volume, and the checksum is made to be right.
//   3. News: the volume becomes one that was not unmounted, and its journal brings keys that are
//      copies of real ones with other fields.
// Invariants
//   (1) The base is never changed; everything follows from the random numbers.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A base with changes.
struct MutatedVolume {
  private(set) var devices: [SimulatedDevice]
  /// What was done, for messages.
  private(set) var story: [String] = []
  /// Checksums were made right: anything may be read.
  private(set) var isLie = false
  /// The journal, or what says where it is, was damaged.
  private(set) var touchesJournal = false
  private let base: BaseVolume

  init(of base: BaseVolume) {
    self.base = base
    devices = base.devices.map { $0.copy() }
  }

  mutating func mutate(_ random: inout Xoshiro256) {
    if random.oneIn(2) {
      isLie = true
      for _ in 0...random.below(3) { lie(&random) }
    } else {
      for _ in 0...random.below(3) { damage(&random) }
    }
  }

  // MARK: - Damage

  private mutating func damage(_ random: inout Xoshiro256) {
    let place = place(&random)
    switch random.below(12) {
    case 0..<5: changeBytes(place, most: 1, &random)
    case 5..<7: changeBytes(place, most: 16, &random)
    case 7: overwrite(place, "zeros", [UInt8](repeating: 0, count: sectorBytes(&random)), &random)
    case 8: overwrite(place, "noise", random.bytes(sectorBytes(&random)), &random)
    case 9: copy(self.place(&random), over: place, &random)
    case 10: swap(place, self.place(&random), &random)
    default: truncate(&random)
    }
  }

  private func sectorBytes(_ random: inout Xoshiro256) -> Int {
    512 << (random.oneIn(2) ? 0 : random.below(9))
  }

  /// A range with something in it.
  private mutating func place(_ random: inout Xoshiro256) -> DeviceRange {
    let map = base.map
    switch random.below(10) {
    case 0, 1: return noted(random.pick(map.superblocks), isJournal: true)
    case 2 where !map.journal.isEmpty: return noted(random.pick(map.journal), isJournal: true)
    case 3 where !map.journalEntries.isEmpty:
      return noted(random.pick(map.journalEntries), isJournal: true)
    case 2...6:
      let node = random.pick(map.nodes)
      return noted(
        DeviceRange(
          device: node.device, range: node.offset..<node.offset + UInt64(node.byteCount)))
    case 7 where !map.data.isEmpty, 8 where !map.data.isEmpty:
      return noted(random.pick(map.data))
    default:
      let device = random.below(devices.count)
      let sector = random.upTo(devices[device].byteCount / 512 - 1)
      return noted(
        DeviceRange(device: device, range: sector * 512..<sector * 512 + 512), isJournal: true)
    }
  }

  private mutating func noted(_ place: DeviceRange, isJournal: Bool = false) -> DeviceRange {
    if isJournal { touchesJournal = true }
    return place
  }

  private mutating func tell(_ what: String, _ device: Int, _ offset: UInt64) {
    story.append("\(what) at byte \(offset) of device \(device)")
  }

  private mutating func changeBytes(
    _ place: DeviceRange, most: Int, _ random: inout Xoshiro256
  ) {
    let length = place.range.upperBound - place.range.lowerBound
    // Headers are at the start: every other change is there.
    let window: UInt64 = random.oneIn(2) ? 256 : length
    let offset = place.range.lowerBound + random.upTo(min(window, length) - 1)
    let end = min(offset + 64, place.range.upperBound)
    var bytes = devices[place.device].contents(offset / 512 * 512..<(end + 511) / 512 * 512)
    let start = Int(offset % 512)
    let before = bytes
    Mutator.change(&bytes, in: start..<start + Int(end - offset), most: most, &random)
    if bytes == before { bytes[start] ^= 1 }
    devices[place.device].patch(bytes, atByte: offset / 512 * 512)
    tell("changed bytes", place.device, offset)
  }

  private mutating func overwrite(
    _ place: DeviceRange, _ what: String, _ bytes: [UInt8], _ random: inout Xoshiro256
  ) {
    let sectors = (place.range.upperBound - place.range.lowerBound) / 512
    let offset = place.range.lowerBound / 512 * 512 + random.upTo(max(sectors, 1) - 1) * 512
    devices[place.device].patch(bytes, atByte: offset)
    touchesJournal = true
    tell("\(bytes.count) bytes of \(what)", place.device, offset)
  }

  private mutating func copy(
    _ source: DeviceRange, over target: DeviceRange, _ random: inout Xoshiro256
  ) {
    let count = UInt64(sectorBytes(&random))
    let start = source.range.lowerBound / 512 * 512
    let bytes = devices[source.device].contents(start..<start + count)
    overwrite(target, "device \(source.device) byte \(start)", bytes, &random)
  }

  private mutating func swap(
    _ one: DeviceRange, _ other: DeviceRange, _ random: inout Xoshiro256
  ) {
    let count = UInt64(sectorBytes(&random))
    let (a, b) = (one.range.lowerBound / 512 * 512, other.range.lowerBound / 512 * 512)
    let first = devices[one.device].contents(a..<a + count)
    let second = devices[other.device].contents(b..<b + count)
    devices[one.device].patch(second, atByte: a)
    devices[other.device].patch(first, atByte: b)
    touchesJournal = true
    tell("\(count) bytes swapped with those at \(b) of device \(other.device)", one.device, a)
  }

  private mutating func truncate(_ random: inout Xoshiro256) {
    let device = random.below(devices.count)
    let sectors = devices[device].byteCount / 512
    let kept = random.oneIn(2) ? random.upTo(sectors) : sectors - min(random.upTo(256), sectors)
    devices[device].truncate(toByteCount: max(kept, 1) * 512)
    touchesJournal = true
    tell("cut off", device, max(kept, 1) * 512)
  }

  // MARK: - Lies

  private mutating func lie(_ random: inout Xoshiro256) {
    switch random.below(10) {
    case 0, 1: lieInSuperblock(&random)
    case 2, 3: bringNews(&random)
    case 4 where !base.isClean && !base.map.journalEntries.isEmpty: lieInJournal(&random)
    default: lieInNode(&random)
    }
  }

  private mutating func lieInSuperblock(_ random: inout Xoshiro256) {
    let device = random.below(devices.count)
    guard
      var bytes = mayFail({ () throws(FormatError) in try base.superblocks[device].encode() })
    else { return }
    let sections = SectionWalk.ranges(bytes)
    switch random.below(4) {
    case 0: Mutator.change(&bytes, in: 16..<Superblock.Layout.byteCount, most: 3, &random)
    case 1: Mutator.change(&bytes, in: random.pick(sections), most: 3, &random)
    case 2: changeWord(&bytes, in: random.pick(sections), &random)
    default: changeWord(&bytes, in: 112..<Superblock.Layout.byteCount, &random)
    }
    let isEverywhere = random.oneIn(2)
    for sector in base.superblocks[device].layout.copySectors.prefix(isEverywhere ? 64 : 1) {
      var copy = bytes
      copy.put(sector, at: Superblock.Layout.sector.offset)
      SuperblockFuzzer.seal(&copy)
      devices[device].patch(copy, atByte: sector * 512)
    }
    story.append("superblock of device \(device)\(isEverywhere ? "" : ", first copy")")
  }

  /// Puts an interesting number into an aligned field.
  private func changeWord(
    _ bytes: inout [UInt8], in range: Range<Int>, _ random: inout Xoshiro256
  ) {
    guard range.count >= 8 else { return }
    let width = [1, 2, 4, 8, 8][random.below(5)]
    let at = range.lowerBound + random.below(range.count / width) * width
    let old =
      bytes.rawBytes.loadLittleEndian(at: min(at, bytes.count - 8), as: UInt64.self)
    let value =
      switch random.below(6) {
      case 0, 1: random.interesting()
      case 2: old &+ 1
      case 3: old &- 1
      case 4: old ^ (1 << UInt64(random.below(64)))
      default: random.pick(base.map.numbers)
      }
    Mutator.put(value, width: width, at: at, in: &bytes, range)
  }

  private mutating func lieInNode(_ random: inout Xoshiro256) {
    let btrees = Array(Set(base.map.nodes.map(\.btree))).sorted()
    let btree = random.pick(btrees)
    let node = random.pick(base.map.nodes.filter { $0.btree == btree })
    let blockBytes = Int(base.superblocks[0].blockSizeSectors) * 512
    let range = node.offset..<node.offset + UInt64(node.byteCount)
    // An earlier change may have made it something else.
    let read = devices[node.device].contents(range)
    guard
      var editor = mayFail({ () throws(FormatError) in
        try NodeEditor(read, blockBytes: blockBytes, key: base.key)
      })
    else { return }
    for _ in 0...random.below(3) { change(&editor, &random) }
    let sealed = editor.sealed()
    // The other copy would tell the truth.
    let other = base.map.nodes.first {
      $0.btree == btree && $0.device != node.device && random.oneIn(2)
        && devices[$0.device].contents($0.offset..<$0.offset + UInt64($0.byteCount)) == read
    }
    for place in [node, other].compactMap({ $0 }) {
      devices[place.device].patch(sealed, atByte: place.offset)
    }
    story.append(
      "node of \(btree) level \(node.level) at byte \(node.offset) of device \(node.device)")
  }

  private func change(_ editor: inout NodeEditor, _ random: inout Xoshiro256) {
    guard let block = editor.blocks.first else { return }
    let bset = random.pick(editor.blocks)
    switch random.below(10) {
    case 0: Mutator.change(&editor.bytes, in: 24..<BTreeNodeHeader.Layout.bset, most: 2, &random)
    case 1: changeWord(&editor.bytes, in: 32..<72, &random)
    case 2: changeWord(&editor.bytes, in: 80..<BTreeNodeHeader.Layout.bset, &random)
    case 3: changeWord(&editor.bytes, in: bset.bsetStart..<bset.bsetStart + 24, &random)
    case 4: Mutator.change(&editor.bytes, in: block.keys, most: 4, &random)
    case 5 where !editor.places.isEmpty:
      changeWord(&editor.bytes, in: random.pick(editor.places).header, &random)
    case 6 where editor.places.count > 1:
      // One value in another's place, as far as there is room.
      let (from, to) = (random.pick(editor.places).value, random.pick(editor.places).value)
      let count = min(from.count, to.count)
      let value = Array(editor.bytes[from.lowerBound..<from.lowerBound + count])
      editor.bytes.replaceSubrange(to.lowerBound..<to.lowerBound + count, with: value)
    case 7 where !editor.places.isEmpty:
      // Another type.
      editor.bytes[random.pick(editor.places).header.lowerBound + 2] = UInt8(random.below(40))
    default:
      guard !editor.places.isEmpty else { return }
      changeWord(&editor.bytes, in: random.pick(editor.places).value, &random)
    }
  }

  private mutating func lieInJournal(_ random: inout Xoshiro256) {
    let place = random.pick(base.map.journalEntries)
    let start = place.range.lowerBound
    let end = (place.range.upperBound + 511) / 512 * 512
    var bytes = devices[place.device].contents(start..<end)
    guard
      let header = mayFail({ () throws(FormatError) in try JSetHeader(decoding: bytes.rawBytes) }),
      header.byteCount <= bytes.count
    else { return }
    JournalSeal.crypt(&bytes, header, base.key)
    switch random.below(3) {
    case 0: changeWord(&bytes, in: 24..<56, &random)
    case 1: changeWord(&bytes, in: 56..<header.byteCount, &random)
    default: Mutator.change(&bytes, in: 56..<max(57, header.byteCount), most: 4, &random)
    }
    JournalSeal.seal(&bytes, base.key)
    devices[place.device].patch(bytes, atByte: start)
    story.append("journal entry at byte \(start) of device \(place.device)")
  }

  // MARK: - News

  /// Makes the volume one that was not unmounted, with keys in its journal.
  private mutating func bringNews(_ random: inout Xoshiro256) {
    guard base.isClean, !base.map.journal.isEmpty else {
      lieInNode(&random)
      return
    }
    let first = base.superblocks[0]
    let sequence = (first.section(of: CleanSection.self)?.journalSeq ?? 1) &+ 1
    for (device, good) in base.superblocks.enumerated() {
      var superblock = good
      superblock.isClean = false
      if random.oneIn(2) { superblock.removeSection(.clean) }
      _ = mayFail { () throws(FuzzFailure) in
        try SealedWrites.superblock(superblock, to: devices[device])
      }
    }
    var at: [Int: UInt64] = [:]
    for number in 0..<UInt64(1 + random.below(3)) {
      let bucket = base.map.journal[min(random.below(2), base.map.journal.count - 1)]
      let offset = at[Int(bucket.range.lowerBound)] ?? bucket.range.lowerBound
      guard let entry = news(sequence &+ number, &random),
        offset + UInt64(entry.count) <= bucket.range.upperBound
      else { continue }
      devices[bucket.device].patch(entry, atByte: offset)
      at[Int(bucket.range.lowerBound)] = offset + UInt64(entry.count)
    }
    story.append("keys in the journal from entry \(sequence) on")
  }

  private func news(_ sequence: UInt64, _ random: inout Xoshiro256) -> [UInt8]? {
    var builder = JSetBuilder()
    let checksumType = base.superblocks[0][Superblock.Layout.encryptionType] != 0 ? 4 : 5
    let header = JSetHeader(
      magic: base.superblocks[0].jsetMagic, seq: sequence,
      lastSeq: random.oneIn(8) ? random.interesting() : sequence &- UInt64(random.below(3)),
      version: base.superblocks[0].version, checksumType: UInt8(checksumType),
      isFlush: !random.oneIn(4))
    let built = mayFail { () throws(FormatError) in
      for root in base.map.roots { try builder.append(root) }
      for _ in 0..<random.below(30) {
        let source = random.pick(base.map.keys)
        var value = source.value
        var key = source.key
        if random.oneIn(2) { changeWord(&value, in: 0..<value.count, &random) }
        change(&key, valueBytes: value.count, &random)
        try builder.appendKey(
          random.oneIn(32) ? .btreeRoot : .btreeKeys,
          btree: random.oneIn(16) ? BTreeID(rawValue: UInt8(random.below(30))) : source.btree,
          level: random.oneIn(16) ? UInt8(random.below(256)) : UInt8(source.level), key,
          value: value.rawBytes)
      }
      return try builder.finish(
        header, blockByteCount: Int(base.superblocks[0].blockSizeSectors) * 512)
    }
    guard var bytes = built else { return nil }
    if random.oneIn(4) {
      Mutator.change(
        &bytes, in: 56..<min(bytes.count, 56 + max(builder.list.count, 1)), most: 4, &random)
    }
    JournalSeal.seal(&bytes, base.key)
    return bytes
  }

  private func change(_ key: inout BKey, valueBytes: Int, _ random: inout Xoshiro256) {
    let number = random.oneIn(2) ? random.pick(base.map.numbers) : random.interesting()
    switch random.below(12) {
    case 0: key.position.inode = number
    case 1: key.position.offset = number
    case 2: key.position.snapshot = UInt32(truncatingIfNeeded: number)
    case 3: key.size = UInt32(truncatingIfNeeded: number)
    case 4: key.type = BKeyType(rawValue: UInt8(random.below(40)))
    case 5: key.type = random.oneIn(2) ? .deleted : .whiteout
    case 6: key.position.offset &+= 1
    case 7: key.position.offset &-= 1
    default: break
    }
  }
}
