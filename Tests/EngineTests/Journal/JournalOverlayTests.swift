// SPDX-License-Identifier: GPL-2.0
// The overlay of journal keys, and the blacklist: both against the plainest model there is.
//
// Invariants under test: rows are in btree order; of several keys at one place the newest is left,
// of accounting deltas all, oldest first; searches agree with looking at every row.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct JournalOverlayTests {
  @Test func theNewestKeyOfEachPositionIsLeft() throws {
    var generator = SplitMix64(seed: 11)
    let volume = try JournalOnlyVolume()
    var model: [BPos: (type: BKeyType, value: UInt64)] = [:]
    for sequence in UInt64(1)...40 {
      let bytes = try volume.encode(sequence, lastSeq: 1) { builder in
        for _ in 0..<Int.random(in: 0...20, using: &generator) {
          let position = BPos(
            UInt64.random(in: 0...2, using: &generator),
            UInt64.random(in: 0...20, using: &generator))
          let isDeleted = Int.random(in: 0..<4, using: &generator) == 0
          let value = UInt64.random(in: 0...UInt64.max, using: &generator)
          var valueBytes = [UInt8](repeating: 0, count: isDeleted ? 0 : 8)
          if !isDeleted { valueBytes.put(value, at: 0) }
          let key = BKey(
            type: isDeleted ? .deleted : .cookie, position: position,
            valueU64s: isDeleted ? 0 : 1)
          try builder.appendKey(
            .btreeKeys, btree: .loggedOps, level: 0, key, value: valueBytes.rawBytes)
          model[position] = (key.type, value)
        }
      }
      try volume.append(bytes)
    }
    let overlay = try volume.read().overlay
    #expect(overlay.count == model.count)
    for (index, position) in model.keys.sorted().enumerated() {
      let entry = overlay.entry(at: index)
      #expect(entry.btree == .loggedOps && entry.level == 0)
      #expect(entry.key.position == position && overlay.rows[index].position == position)
      #expect(entry.key.type == model[position]?.type)
      if entry.key.type == .cookie {
        let memory = overlay.memory
        let direct: UInt64 = memory.bytes.loadLittleEndian(at: entry.valueRange.lowerBound)
        let value: UInt64 = overlay.value(at: index).loadLittleEndian(at: 0)
        #expect(value == model[position]?.value && direct == value)
        #expect(entry.valueRange.count == 8)
      } else {
        let byteCount = overlay.value(at: index).byteCount
        #expect(entry.valueRange.isEmpty && byteCount == 0)
      }
    }
  }

  @Test func searchesAgreeWithLookingAtEveryRow() throws {
    let volume = try JournalOnlyVolume()
    var places: [(BTreeID, UInt8, BPos)] = []
    for btree: BTreeID in [.quotas, .loggedOps, BTreeID(rawValue: 30)] {
      for inode in UInt64(0)..<3 {
        for offset in stride(from: UInt64(1), to: 9, by: 2) {
          places.append((btree, 0, BPos(inode, offset)))
        }
      }
    }
    let bytes = try volume.encode(1) { builder in
      for (btree, level, position) in places.reversed() {
        try builder.appendKey(
          .btreeKeys, btree: btree, level: level, BKey(type: .deleted, position: position),
          value: [UInt8]().rawBytes)
      }
    }
    try volume.append(bytes)
    let overlay = try volume.read().overlay
    #expect(overlay.count == places.count)
    for btree in UInt8(0)..<40 {
      let id = BTreeID(rawValue: btree)
      let start = places.count { $0.0 < id }
      #expect(overlay.range(id, 0) == start..<start + places.count { $0.0 == id })
      #expect(overlay.range(id, 1).isEmpty)
      for inode in UInt64(0)..<4 {
        for offset in UInt64(0)..<10 {
          let position = BPos(inode, offset)
          let expected = places.count { $0.0 < id || $0.0 == id && $0.2 < position }
          #expect(overlay.lowerBound(id, 0, position) == expected)
        }
      }
    }
  }

  @Test func accountingDeltasAreAllKeptOldestFirst() throws {
    let volume = try JournalOnlyVolume()
    for sequence in UInt64(1)...3 {
      let bytes = try volume.encode(sequence, lastSeq: 1) { builder in
        var value = [UInt8](repeating: 0, count: 8)
        value.put(sequence * 10, at: 0)
        for lo in [sequence * 2, sequence * 2 + 1] {
          try builder.appendKey(
            .writeBufferKeys, btree: .accounting, level: 0,
            BKey(
              type: .accounting, position: .min, version: BVersion(lo: lo), valueU64s: 1),
            value: value.rawBytes)
        }
      }
      try volume.append(bytes)
    }
    let overlay = try volume.read().overlay
    try #require((0..<overlay.count).map { overlay.key(at: $0).version.lo } == [2, 3, 4, 5, 6, 7])
    #expect(overlay.lowerBound(.accounting, 0, .min) == 0)
    let last: UInt64 = overlay.value(at: 5).loadLittleEndian(at: 0)
    #expect(last == 30)
  }

  @Test func invalidKeysAreLeftOutAndTold() throws {
    let volume = try JournalOnlyVolume()
    let bytes = try volume.encode(1) { builder in
      try builder.appendCookie(at: 1, 1)
      // An inode without a value, and a key with a size where none may be.
      try builder.appendKey(
        .btreeKeys, btree: .inodes, level: 0,
        BKey(type: .inodeV3, position: BPos(0, 4096, .max)), value: [UInt8]().rawBytes)
      try builder.appendKey(
        .btreeKeys, btree: .loggedOps, level: 0,
        BKey(type: .deleted, position: BPos(0, 9), size: 3), value: [UInt8]().rawBytes)
      try builder.appendCookie(at: 2, 2)
    }
    try volume.append(bytes)
    let contents = try volume.read()
    #expect(contents.cookies == [1: 1, 2: 2])
    #expect(contents.overlay.count == 2)
    #expect(contents.told.count == 2)
  }

  @Test func logsAndOverwrittenKeysAreNotReplayed() throws {
    let volume = try JournalOnlyVolume()
    let bytes = try volume.encode(1) { builder in
      try builder.append(JSetEntry(.log, .log(Array("what happened".utf8))))
      try builder.appendKey(
        .overwrite, btree: .loggedOps, level: 0, BKey(type: .deleted, position: BPos(0, 9)),
        value: [UInt8]().rawBytes)
      try builder.append(
        JSetEntry(
          .clock, .clock(rw: 1, unused: 0, time: 77)))
      try builder.append(
        JSetEntry(
          .usage, btree: BTreeID(rawValue: FilesystemUsageType.keyVersion.rawValue), .usage(99)))
      try builder.append(JSetEntry(.blacklistV2, .blacklistRange(start: 100, end: 102)))
    }
    try volume.append(bytes)
    let contents = try volume.read()
    #expect(contents.overlay.count == 0)
    #expect(contents.writeClock == 77 && contents.readClock == 0 && contents.keyVersion == 99)
    #expect((99...103).map { contents.isBlacklisted($0) } == [false, true, true, true, false])
  }

  @Test func theNewestRootOfABtreeCountsAndALostOneIsNotReplacedByAnOlder() throws {
    let volume = try JournalOnlyVolume()
    for sequence in UInt64(1)...3 {
      let bytes = try volume.encode(sequence, lastSeq: 1) { builder in
        try builder.appendRoot(.inodes, level: UInt8(sequence), nodeSeq: sequence)
        if sequence < 3 {
          try builder.appendRoot(.dirents, level: 0, nodeSeq: sequence)
        } else {
          try builder.append(JSetEntry(.btreeRoot, btree: .dirents, level: 0, .keys([])))
        }
      }
      try volume.append(bytes)
    }
    let contents = try volume.read()
    let root = try #require(contents.root(of: .inodes))
    #expect(root.level == 3 && root.sequence == 3)
    #expect(try BTreePtrV2(decoding: root.value.rawBytes).seq == 3)
    let lost = try #require(contents.root(of: .dirents))
    #expect(lost.key == nil && lost.sequence == 3)
    #expect(contents.root(of: .xattrs) == nil)
  }
}

extension JSetBuilder {
  /// A root that points to a node on device 0.
  mutating func appendRoot(_ btree: BTreeID, level: UInt8, nodeSeq: UInt64) throws {
    var value = [UInt8](repeating: 0, count: 48)
    var span = value.mutableRawBytes
    BTreePtrV2(seq: nodeSeq, sectorsWritten: 8, minKey: .min).encode(into: &span)
    // A pointer: the entry's type bit, then the sector from bit 4 on.
    value.put(1 | 6400 << 4, at: 40)
    try appendKey(
      .btreeRoot, btree: btree, level: level,
      BKey(type: .btreePtrV2, position: .max, valueU64s: 6), value: value.rawBytes)
  }
}

@Suite struct JournalBlacklistTests {
  @Test func agreesWithASetOfNumbers() {
    for seed in UInt64(0)..<200 {
      var generator = SplitMix64(seed: seed)
      var list = JournalBlacklist()
      var model: Set<UInt64> = []
      for _ in 0..<Int.random(in: 0...8, using: &generator) {
        let start = UInt64.random(in: 0..<60, using: &generator)
        let end = start + UInt64.random(in: 0..<12, using: &generator)
        list.insert([start..<end])
        model.formUnion(start..<end)
      }
      for number in UInt64(0)..<80 {
        #expect(list.isBlacklisted(number) == model.contains(number), "seed \(seed), \(number)")
      }
      for (low, high) in zip(list.ranges, list.ranges.dropFirst()) {
        #expect(low.upperBound < high.lowerBound, "seed \(seed)")
      }
      let start = UInt64.random(in: 0..<40, using: &generator)
      let range = start..<start + UInt64.random(in: 0..<40, using: &generator)
      let rest = list.complement(in: range).flatMap { Array($0) }
      #expect(rest == range.filter { !model.contains($0) }, "seed \(seed)")
    }
  }
}
