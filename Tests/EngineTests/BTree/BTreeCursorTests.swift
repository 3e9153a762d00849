// SPDX-License-Identifier: GPL-2.0
// Cursors against a list of all keys that is made another way: invariants (1) to (3) of
// BTreeCursor.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct BTreeCursorTests {
  /// A volume with btrees of two levels, and its keys as `BuiltImage` finds them.
  private func built() throws -> (volume: Volume, image: BuiltImage) {
    try withTemporaryFolder { folder in
      try runProgramOrThrow(
        "bash",
        ["-c", "mkdir t && cd t && seq -f 'name %.0f' 6000 | tr '\\n' '\\0' | xargs -0 touch"],
        folder: folder)
      var setting = BuildSetting()
      setting.options[.btreeNodeSize] = 64 << 10
      let image = try BuiltImage("\(folder)/t", setting)
      // 1 MiB of cache: nodes come and go.
      let media = try VolumeOpener.open(devices: image.devices)
      return (try Volume(media: media, cacheBytes: 1 << 20), image)
    }
  }

  private func position(of key: KeyReference?) -> BPos? { key?.key.position }

  @Test func everyKeyIsFoundForwardsBackwardsAndAtRandom() throws {
    let (volume, image) = try built()
    #expect(volume.rootLevel(of: .dirents) == 1)
    var random = SplitMix64(seed: 11)
    for (btree, keys) in image.keys {
      let positions = keys.map(\.key.position)
      let cursor = BTreeCursor(volume.forest, btree)
      var forwards: [BPos] = []
      while let found = try cursor.next() { forwards.append(found.key.position) }
      #expect(forwards == positions, "\(btree)")
      cursor.seek(.max)
      var backwards: [BPos] = []
      while let found = try cursor.previous() { backwards.append(found.key.position) }
      #expect(backwards == positions.reversed(), "\(btree)")
      for _ in 0..<2000 {
        let index = Int(random.next() % UInt64(positions.count))
        let place = positions[index]
        let found = try cursor.lookup(place)
        #expect(found?.key == keys[index].key)
        #expect(found?.withValue { $0.copiedBytes } == keys[index].value)
        // Between two keys: the neighbours.
        guard let behind = place.successor, index + 1 < positions.count,
          behind < positions[index + 1]
        else { continue }
        #expect(try cursor.lookup(behind) == nil)
        cursor.seek(behind)
        #expect(position(of: try cursor.previous()) == place)
        #expect(position(of: try cursor.previous()) == (index > 0 ? positions[index - 1] : nil))
        cursor.seek(behind)
        #expect(position(of: try cursor.next()) == positions[index + 1])
      }
    }
  }

  @Test func journalKeysAreMergedInBothDirections() throws {
    let fixture = try OpeningFixture("unclean")
    let volume = try Volume(media: try fixture.open())
    #expect(volume.forest.overlay != nil)
    for btree in volume.btrees {
      let cursor = BTreeCursor(volume.forest, btree)
      var forwards: [BPos] = []
      while let found = try cursor.next() { forwards.append(found.key.position) }
      #expect(zip(forwards, forwards.dropFirst()).allSatisfy { $0 < $1 }, "\(btree)")
      cursor.seek(.max)
      var backwards: [BPos] = []
      while let found = try cursor.previous() { backwards.append(found.key.position) }
      #expect(backwards == forwards.reversed(), "\(btree)")
      for place in forwards.reversed() {
        #expect(position(of: try cursor.lookup(place)) == place)
      }
    }
  }

  @Test func theLastKeyUpToAPlaceIsTheOneThatTheSnapshotSees() throws {
    let fixture = try OpeningFixture("snapshots")
    let volume = try Volume(media: try fixture.open())
    for btree in [BTreeID.extents, .inodes, .dirents] {
      for snapshot in volume.snapshots.ids {
        func cursor() -> SnapshotCursor {
          SnapshotCursor(volume.forest, btree, snapshot: snapshot, table: volume.snapshots)
        }
        for inode in try inodes(volume, btree) {
          var walk = cursor()
          walk.seek(inode, 0)
          var seen: [UInt64] = []
          while let found = try walk.next() { seen.append(found.key.position.offset) }
          var back = cursor()
          var bound: UInt64? = .max
          for expected in seen.reversed() {
            let found = try back.last(upTo: inode, bound ?? 0)
            #expect(found?.key.position.inode == inode)
            #expect(found?.key.position.offset == expected)
            bound = expected == 0 ? nil : expected - 1
          }
          guard let bound else { continue }
          let before = try back.last(upTo: inode, bound)
          #expect(before == nil)
        }
      }
    }
  }

  private func inodes(_ volume: Volume, _ btree: BTreeID) throws -> Set<UInt64> {
    var result: Set<UInt64> = []
    try volume.forEachKey(of: btree) { (key, _) in
      result.insert(key.position.inode)
      return true
    }
    return result
  }

  @Test func aNodeThatIsGoneIsToldAndTheOthersAreStillRead() throws {
    let (volume, image) = try built()
    let all = try #require(image.nodes[.dirents])
    let leaves = all.filter { $0.level == 0 }
    try #require(leaves.count > 2)
    let lost = leaves[1]
    let place = try #require(try image.pointers(lost.key, lost.value).first)
    var noise = AlignedBuffer(byteCount: 4096)
    var bytes = noise.mutableBytes
    for index in 0..<4096 { bytes.storeBytes(of: UInt8(7), toByteOffset: index, as: UInt8.self) }
    try image.devices[0].write(noise.bytes, atByte: place.offset * 512)
    let cursor = BTreeCursor(volume.forest, .dirents)
    var count = 0
    var skipped: [BPos] = []
    while true {
      do {
        guard try cursor.next() != nil else { break }
        count += 1
      } catch {
        skipped.append(try #require(cursor.skipUnreadable()))
      }
    }
    #expect(skipped == [lost.key.position])
    let lostKeys = try #require(image.keys[.dirents]).filter {
      lost.header.minKey <= $0.key.position && $0.key.position <= lost.key.position
    }
    #expect(count == (image.keys[.dirents]?.count ?? 0) - lostKeys.count)
    #expect(lostKeys.count > 100)
  }
}
