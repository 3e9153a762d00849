// SPDX-License-Identifier: GPL-2.0
// What formats newer than 1.13 ask of those who read names and contents, on volumes of a few keys.
// Where names stand is computed here by the checksum alone, as the format has it.

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct NewerFormatTests {
  private let root = FileID(subvolume: 1, inode: 4096)

  /// The place of a name in a directory that hashes by CRC-64, which has 63 bits.
  private func place(_ name: String, _ directory: Inode) -> UInt64 {
    var bytes: [UInt8] = []
    for shift in 0..<8 {
      bytes.append(UInt8(truncatingIfNeeded: directory.hashSeed >> UInt64(shift * 8)))
    }
    bytes += Array(name.utf8)
    return CRC64.update(~0, bytes.rawBytes) >> 1
  }

  private func directory() -> Inode {
    var directory = Inode.sample(4096, mode: 0o40755)
    directory.stringHash = StringHashType.crc64.rawValue
    return directory
  }

  private func lookup(_ name: String, _ volume: Volume) throws -> UInt64? {
    do throws(VolumeError) {
      return try volume.lookup(Array(name.utf8), in: root).inode
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }

  private func contents(_ number: UInt64, _ volume: Volume) throws -> [UInt8] {
    let file = try volume.open(FileID(subvolume: 1, inode: number))
    var bytes = [UInt8](repeating: 0xee, count: Int(file.inode.size))
    var span = bytes.mutableRawBytes
    let count = try file.read(from: 0, into: &span)
    #expect(count == bytes.count)
    return bytes
  }

  // MARK: - Names

  /// 1.30: without the flag the same names are found at their whole hashes only.
  @Test(arguments: [true, false])
  func namesStandAtHashesOf31BitsWhereTheDirectorySaysSo(isCut: Bool) throws {
    var directory = directory()
    if isCut { directory.rawFlags |= 1 << 11 }
    var keys = try JournalKeys()
    keys.add(directory)
    for (index, name) in ["one", "another", "third"].enumerated() {
      let whole = place(name, directory)
      #expect(whole > 0x7fff_ffff)
      try keys.add(name, in: directory, at: whole & 0x7fff_ffff, inode: 5000 + UInt64(index))
    }
    let volume = try keys.volume()
    #expect(try lookup("another", volume) == (isCut ? 5001 : nil))
    #expect(try lookup("third", volume) == (isCut ? 5002 : nil))
    #expect(try lookup("fourth", volume) == nil)
  }

  /// 1.24, by the directory's own option, which stands third behind the fields of 1.13.
  @Test func casefoldedDirectoryKnowsEverySpelling() throws {
    let directory = directory()
    var keys = try JournalKeys()
    keys.add(directory, newer: [0, 0, 2])
    let names = [("README", "readme"), ("\u{c4}rger", "a\u{308}rger"), ("plain", "plain")]
    for (index, (name, folded)) in names.enumerated() {
      try keys.add(
        name, folded: folded, in: directory, at: place(folded, directory),
        inode: 5000 + UInt64(index))
    }
    let volume = try keys.volume()
    #expect(try lookup("README", volume) == 5000)
    #expect(try lookup("ReadMe", volume) == 5000)
    #expect(try lookup("a\u{308}RGER", volume) == 5001)
    #expect(try lookup("\u{e4}rger", volume) == 5001)
    #expect(try lookup("PLAIN", volume) == 5002)
    #expect(try lookup("plain ", volume) == nil)
    var seen: [String] = []
    try volume.list(root) {
      seen.append(String(decoding: $0.name, as: UTF8.self))
      return true
    }
    #expect(Set(seen) == ["README", "\u{c4}rger", "plain"])
  }

  @Test(arguments: [[0, 0, 1], []] as [[UInt8]])
  func directoryOfItsOwnMindDiffersFromTheVolume(newer: [UInt8]) throws {
    let directory = directory()
    var keys = try JournalKeys()
    keys.add(directory, newer: newer)
    try keys.add("README", in: directory, at: place("README", directory), inode: 5000)
    try keys.add("x", folded: "x", in: directory, at: place("x", directory), inode: 5001)
    let volume = try keys.volume { $0[Superblock.Layout.casefold] = 1 }
    // Found under its own hash, whatever the directory is.
    #expect(try lookup("README", volume) == 5000)
    #expect(try lookup("readme", volume) == nil)
    #expect(try lookup("X", volume) == (newer.isEmpty ? 5001 : nil))
  }

  @Test func exactSpellingWinsOverOthersOfTheSameHash() throws {
    let directory = directory()
    var keys = try JournalKeys()
    keys.add(directory, newer: [0, 0, 2])
    let first = place("name", directory)
    try keys.add("Name", folded: "name", in: directory, at: first, inode: 5000)
    try keys.add("NAME", folded: "name", in: directory, at: first + 1, inode: 5001)
    let volume = try keys.volume()
    #expect(try lookup("NAME", volume) == 5001)
    #expect(try lookup("Name", volume) == 5000)
    #expect(try lookup("name", volume) == 5000)
  }

  /// All names of a volume that the newest program wrote: each is found in capitals.
  @Test(arguments: SampleVolume.newest.filter { $0.name.hasSuffix("casefold") })
  func everyNameIsFoundInCapitals(sample: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let volume = try Volume.open(VolumeSources(paths: try sample.unpack(into: folder)))
      var waiting = [volume.root]
      var count = 0
      while let directory = waiting.popLast() {
        for entry in try volume.entries(of: directory) {
          let capitals = Array(entry.text.uppercased().utf8)
          #expect(try volume.lookup(capitals, in: directory) == entry.id, "\(entry.text)")
          #expect(try volume.lookup(entry.name, in: directory) == entry.id, "\(entry.text)")
          if entry.kind == .directory { waiting.append(entry.id) }
          count += 1
        }
      }
      #expect(count > 200)
    }
  }

  // MARK: - Snapshots

  /// 1.26: interior nodes that have lost their keys stay in the tree.
  @Test func keysOfAncestorsAreSeenThroughNodesWithoutKeys() throws {
    var keys = try JournalKeys(ancestors: [(200, 8), (300, 4 | 8), (400, 0)])
    let directory = directory()
    var old = directory
    old.mode = 0o40700
    keys.add(old)
    keys.addCopy(of: directory, snapshot: 400)
    let volume = try keys.volume()
    #expect(try volume.inode(root).mode == 0o40700)
    var others = try JournalKeys(ancestors: [(200, 8), (300, 4 | 8), (400, 0)])
    others.addCopy(of: directory, snapshot: 400)
    #expect(try others.volume().inode(root).mode == 0o40755)
  }

  /// 1.29: a whiteout of extents has a size and a type of its own.
  @Test func extentWhiteoutsHideWhatAncestorsHave() throws {
    var keys = try JournalKeys(ancestors: [(200, 0)])
    keys.add(Inode.sample(5000, mode: 0o100644, size: 3 * 512))
    for sector in UInt64(0)..<3 {
      keys.add(
        .extents, .inlineData, BPos(5000, sector + 1, 200), size: 1,
        [UInt8](repeating: UInt8(sector + 1), count: 512))
    }
    keys.add(.extents, BKeyType(rawValue: 36), BPos(5000, 2, 100), size: 1, [])
    let volume = try keys.volume()
    let bytes = try contents(5000, volume)
    #expect(bytes[0..<512].allSatisfy { $0 == 1 })
    #expect(bytes[512..<1024].allSatisfy { $0 == 0 })
    #expect(bytes[1024...].allSatisfy { $0 == 3 })
    let ranges = try volume.open(FileID(subvolume: 1, inode: 5000)).dataRanges { _, _ in }
    #expect(ranges == [0..<512, 1024..<1536])
  }

  /// Keys that other snapshots have behind an inode's are not walked through for its end.
  @Test func walkEndsWithItsInode() throws {
    var keys = try JournalKeys()
    let directory = directory()
    keys.add(directory)
    try keys.add("only", in: directory, at: place("only", directory), inode: 5000)
    let forest = try keys.volume().forest
    let table = try SnapshotTable(forest)
    var cursor = SnapshotCursor(forest, .dirents, snapshot: 100, table: table)
    cursor.seek(4095, 0)
    #expect(try cursor.next() == nil)
    cursor.seek(4096, 0)
    #expect(try cursor.next()?.key.position.offset == place("only", directory))
    #expect(try cursor.next() == nil)
  }

  // MARK: - Contents

  /// 1.16: flags above the index of a reflink pointer.
  @Test(arguments: [0, 1, 2, 3, 0xff] as [UInt8])
  func flagsOfReflinkPointersAreNoPartOfTheirIndex(flags: UInt8) throws {
    var keys = try JournalKeys()
    keys.add(Inode.sample(5000, mode: 0o100644, size: 512))
    let word = UInt64(flags) << 56 | 1000
    keys.add(.extents, .reflinkP, BPos(5000, 1, 100), size: 1, words: 2) {
      $0[LEField<UInt64>(0)] = word
    }
    let data = [UInt8](repeating: 0, count: 8) + [UInt8](repeating: 7, count: 512)
    keys.add(.reflink, .indirectInlineData, BPos(0, 1001), size: 1, data)
    let bytes = try contents(5000, try keys.volume())
    #expect(bytes.allSatisfy { $0 == 7 })
    let value = [word, 0].flatMap { word in
      (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) }
    }
    let pointer = try ReflinkP(decoding: value.rawBytes)
    #expect(pointer.index == 1000 && pointer.flags == flags)
    var again = [UInt8](repeating: 0, count: 16)
    var span = again.mutableRawBytes
    pointer.encode(into: &span)
    #expect(again == value)
  }
}
