// SPDX-License-Identifier: GPL-2.0
// From a volume at rest to one that is open for changes, and back.
//
// How it works
//   1. The journal is read. After a crash the numbers that were lost are blacklisted, in the
//      superblock, before any new entry is written; new entries begin behind them.
//   2. The superblock is marked as in use; a version that is raised is noted before that
//      (Engine+Upgrade.swift).
//   3. What only the journal has is put into the btrees (Engine+Replay.swift).
//   4. A volume that was never open before is filled (Engine+Initialise.swift). Buckets that a
//      journal was about to get are freed (Engine+JournalGrowth.swift). Counts of nothing go
//      (Engine+EmptyCounts.swift).
//   5. Operations that were under way are completed (Engine+LoggedOperations.swift); inodes that
//      were deleted while they were open go (Engine+DeadInodes.swift).
//   6. What users, groups and projects have is counted, where that is limited
//      (Files/Quotas/Engine+Quotas.swift).
//   7. Closing writes all nodes, until nothing holds the journal any more; an entry says so. Then
//      the superblock gets the roots and is marked clean.
// Invariants
//   (1) The superblock is marked in use before the first write of anything else.
//   (2) A volume is marked clean only when the journal holds nothing.
// Source: recovery.c (bch2_fs_recovery), super.c (__bch2_fs_read_only), sb-clean.c
// (bch2_fs_mark_clean).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// What an engine is opened with, besides the volume.
struct EngineOptions {
  /// What btree nodes in memory should take together.
  var cacheBytes = 256 << 20
  /// What keys in the write buffer should take.
  var writeBufferBytes = 8 << 20
  /// Whether an older format version may be raised.
  var versionUpgrade = VersionUpgradePolicy.none
  /// Of sequence numbers of nodes.
  var seed: UInt64
}

extension Engine {
  /// Sequence numbers behind the newest that was found that btree nodes may name: a node is written
  /// ahead of its journal entries by less (`writesAhead`).
  static var lostAfterCrash: UInt64 { 8 }

  /// Opens a volume for changes: clean, or with a journal to replay.
  ///
  /// - Throws: what reading the journal and writing the superblock throws.
  static func open(
    _ volume: WritableVolume, places: (any NodePlaces)? = nil, _ options: EngineOptions
  ) throws(VolumeError) -> Engine {
    let (media, store) = (volume.media, volume.store)
    let isUpgrade = try beginUpgrade(store, options.versionUpgrade)
    let isNew = !media.superblock.isInitialized
    let contents = isNew ? try contentsOfNewVolume(volume) : try JournalReader.read(media)
    try checkSequences(contents)
    var next = contents.newestSequence + 1
    let rings = rings(volume, contents)
    guard rings.contains(where: { $0.count > 0 }) else {
      throw VolumeError(.corrupt, "no device that may be written to has a journal")
    }
    try Journal.checkRoom(contents.roots, rings)
    if !contents.isFromCleanSection {
      let lost = contents.replayed.upperBound..<next + lostAfterCrash
      try store.blacklist(lost)
      next = lost.upperBound
    }
    try store.markDirty()
    let unflushed = UnflushedDevices()
    let replicas = MarkedReplicas(store)
    let failures = DeviceFailures(store)
    let instruments = Instruments(store.counters, clocks: store.clocks)
    let journal = Journal(
      journalParameters(media, store.superblock), media: media, instruments: instruments,
      replicas: replicas, failures: failures, unflushed: unflushed,
      rings: rings, contents: contents, nextSequence: next)
    let engine = Engine(
      media: media, store: store, instruments: instruments, replicas: replicas,
      failures: failures,
      trees: try trees(media, store.superblock, contents, options, instruments),
      journal: journal, unflushed: unflushed, allocator: places ?? NodeAllocator(media), options,
      wasClean: contents.isFromCleanSection)
    let empty = try engine.replay(contents)
    journal.replayDone()
    if isNew { try engine.initialise() }
    if !engine.wasClean { try engine.freeForgottenJournalBuckets() }
    try engine.makeMissingJournals()
    try engine.readSnapshots()
    if engine.wasClean, empty > emptyCountsMax { try engine.forgetEmptyCounts() }
    if isUpgrade { try engine.completeUpgrade() }
    try engine.resumeLoggedOperations()
    let dead = try engine.deleteDeadInodes()
    engine.deadInodeCount.store(dead, ordering: .relaxed)
    try engine.readQuotas()
    return engine
  }

  /// More entries than journals hold: each that is needed is a few words in memory.
  private static var neededEntriesMax: UInt64 { 1 << 22 }

  /// - Throws: `.corrupt` for numbers that no write can have got to, `.limit` for so many to
  ///   replay.
  private static func checkSequences(_ contents: JournalContents) throws(VolumeError) {
    let newest = contents.newestSequence
    guard newest <= UInt64(Int64.max) / 2 else {
      throw VolumeError(
        .corrupt,
        "the journal's newest entry is \(newest), and none is above \(UInt64(Int64.max) / 2)")
    }
    guard let first = contents.replayed.first, newest - first >= neededEntriesMax else { return }
    throw VolumeError(
      .limit,
      "the journal has entries \(first) to \(newest), and this program replays up to "
        + "\(neededEntriesMax)")
  }

  private static func metadataChecksum(_ media: VolumeMedia) -> ChecksumType {
    guard media.key == nil else { return .chacha20Poly1305 }
    let option = ChecksumOption(rawValue: UInt8(media.options[.metadataChecksum]))
    return ChecksumType(rawValue: option.metadataChecksumType ?? 0)
  }

  private static func journalParameters(
    _ media: VolumeMedia, _ superblock: Superblock
  ) -> JournalParameters {
    JournalParameters(
      magic: JSetHeader.magic(uuidLo: superblock.uuid.lo), version: superblock.version,
      checksumType: metadataChecksum(media), key: media.key,
      blockBytes: Int(superblock.blockSizeSectors) * 512,
      replicas: max(1, Int(media.options[.metadataReplicas])),
      flushDelayNanoseconds: media.options[.journalFlushDelay] * 1_000_000)
  }

  private static func rings(
    _ volume: WritableVolume, _ contents: JournalContents
  ) -> [JournalRing] {
    var rings: [JournalRing] = []
    for (index, member) in volume.media.members.enumerated()
    where member.isAlive && member.state == .rw && volume.media.devices[index] != nil
      && volume.media.superblock.members[index].dataAllowed.contains(.journal)
    {
      let buckets = volume.store.journalRanges(of: index)
        .flatMap { $0.start..<$0.start + $0.count }
      var sequences = [UInt64](repeating: 0, count: buckets.count)
      for entry in contents.entries {
        for place in entry.places where Int(place.device) == index && place.index < buckets.count {
          sequences[place.index] = max(sequences[place.index], entry.sequence)
        }
      }
      rings.append(
        JournalRing(
          device: UInt8(index), bucketSectors: UInt64(member.bucketSizeSectors), buckets: buckets,
          sequences: sequences))
    }
    return rings
  }

  private static func trees(
    _ media: VolumeMedia, _ superblock: Superblock, _ contents: JournalContents,
    _ options: EngineOptions, _ instruments: Instruments
  ) throws(VolumeError) -> LiveTrees {
    let blacklist = contents.blacklist
    let parameters = MetadataParameters(
      superblockMagic: superblock.uuid.lo, checksumType: metadataChecksum(media), key: media.key,
      blockBytes: Int(superblock.blockSizeSectors) * 512,
      nodeBytes: Int(superblock[Superblock.Layout.btreeNodeSize]) * 512,
      version: superblock.version.rawValue)
    let decoder = NodeDecoder(
      superblockMagic: superblock.uuid.lo, key: media.key, blockBytes: parameters.blockBytes,
      nodeBytes: parameters.nodeBytes, isBlacklisted: { blacklist.isBlacklisted($0) })
    let reader = NodeReader(media: media, decoder: decoder, cacheBytes: 0, report: { _ in })
    return LiveTrees(
      cache: LiveNodeCache(
        limitBytes: options.cacheBytes, nodeBytes: parameters.nodeBytes, instruments),
      reader: reader, parameters: parameters, context: BKeyContext(superblock))
  }

  private func readSnapshots() throws(VolumeError) {
    let table = try run("read_snapshots") { (transaction) throws(TransactionError) in
      var table = SnapshotTable()
      var walk = KeyWalk(.snapshots, from: .min)
      while let found = try transaction.next(&walk) {
        try found.decoded { (value) throws(FormatError) in try table.add(found.key, value) }
      }
      table.number()
      return table
    }
    snapshots.withLock { $0 = table }
  }

  // MARK: - Closing

  /// Writes everything and marks the volume clean. Nobody else uses the engine any more.
  ///
  /// - Throws: why it could not be written; the volume is as after a crash then.
  func close() throws(VolumeError) {
    stopThreads()
    try comeToRest()
    letGo()
  }
}
