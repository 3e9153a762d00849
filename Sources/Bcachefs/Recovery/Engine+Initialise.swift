// SPDX-License-Identifier: GPL-2.0
// The first time that a formatted volume is opened: it gets a journal, btrees and a root directory.
//
// How it works
//   1. Each device's journal gets buckets, those right behind the superblock. Until the volume is
//      initialised its superblock stays in memory: whatever happens before, the next one to open
//      it begins anew.
//   2. He would find the entries of a first attempt in the same buckets. So they are looked for,
//      and numbers begin behind theirs: a journal whose entries need nothing older ignores them.
//   3. All buckets are free at first, in one range; then those of superblocks and journals are
//      counted, by the triggers. Nobody else takes them meanwhile.
//   4. The first subvolume, its snapshot, the root directory and lost+found.
//   5. When all that is flushed, a superblock says that the volume is initialised.
// Invariants
//   (1) Before that superblock nothing on disk leads to anything that was written.
// Source: recovery.c (bch2_fs_initialize), alloc_background.c (bch2_dev_freespace_init), buckets.c
// (__bch2_trans_mark_dev_sb), subvolume.c (bch2_initialize_subvolumes), journal.c
// (bch2_fs_journal_alloc).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

extension Engine {
  /// Gives a volume that was never opened its journals, in memory.
  ///
  /// - Returns: What stands in place of a journal that was read.
  /// - Throws: `.missingMembers` where not all devices are here, `.limit` for a device without room
  ///   for a journal, and what reading old entries throws.
  static func contentsOfNewVolume(_ volume: WritableVolume) throws(VolumeError) -> JournalContents {
    let (media, store) = (volume.media, volume.store)
    let blacklist = JournalBlacklist(media.superblock)
    var newest: UInt64 = 0
    for (index, member) in media.members.enumerated() where member.isAlive {
      guard let device = media.device(UInt8(truncatingIfNeeded: index)),
        let layout = store.layout(of: index)
      else {
        throw VolumeError(
          .missingMembers,
          "the volume has never been mounted: all of its devices have to be there, and device "
            + "\(index) is not")
      }
      if store.journalRanges(of: index).isEmpty {
        try store.setJournalBuckets(
          try newJournal(on: member, layout, name: device.name), of: index)
      }
      let map = JournalMap(
        store.journalRanges(of: index), device: UInt8(truncatingIfNeeded: index),
        bucketByteCount: Int(member.bucketSizeSectors) * 512)
      var scan = JournalScan(map, media: media, blacklist, keeping: .headers)
      try scan.run(device)
      for entry in scan.found where entry.isGood { newest = max(newest, entry.header.seq) }
    }
    // A number that no write can bring close to where numbers end.
    guard newest < UInt64(Int64.max) / 2 else {
      throw VolumeError(.corrupt, "a journal entry of an earlier attempt has number \(newest)")
    }
    return JournalContents(
      isFromCleanSection: true, replayed: 0..<0,
      newestSequence: newest == 0 ? 0 : newest + lostAfterCrash,
      roots: [JournalRoot?](repeating: nil, count: Int(BTreeID.maxCount)), readClock: 1,
      writeClock: 1, keyVersion: 0, blacklist: blacklist, overlay: JournalOverlay(), entries: [],
      warnings: [])
  }

  /// The first buckets that no superblock is in.
  private static func newJournal(
    on member: MemberInfo, _ layout: SuperblockLayout, name: String
  ) throws(VolumeError) -> [UInt64] {
    let taken = Set(superblockBuckets(of: member, layout).keys)
    let count = ReservedBuckets.journalBucketCount(
      bucketCount: member.bucketCount, bucketSectors: member.bucketSizeSectors)
    var buckets: [UInt64] = []
    var next = member.firstBucket
    while buckets.count < count, next < member.bucketCount {
      if !taken.contains(next) { buckets.append(next) }
      next += 1
    }
    guard buckets.count == count else {
      throw VolumeError(.limit, "\(name) has no room for a journal of \(count) buckets")
    }
    return buckets
  }

  /// Sectors of each bucket that a superblock is in.
  private static func superblockBuckets(
    of member: MemberInfo, _ layout: SuperblockLayout
  ) -> [UInt64: UInt32] {
    var result: [UInt64: UInt32] = [:]
    for sectors in ReservedBuckets.superblockSectors(layout, copies: layout.copySectors) {
      let parts = ReservedBuckets.buckets(
        of: sectors, bucketSectors: member.bucketSizeSectors, limit: member.bucketCount)
      for part in parts where part.bucket >= member.firstBucket {
        result[part.bucket, default: 0] += part.sectors
      }
    }
    return result
  }

  // MARK: - Filling it

  /// Makes everything that a volume has from the first time on. Nobody else has the engine yet.
  ///
  /// - Throws: what reading, writing and allocating throw; the volume is as it was then.
  func initialise() throws(VolumeError) {
    let reserved = reservedBuckets()
    openBuckets.hold(reserved.map(\.position))
    for (index, member) in media.members.enumerated() where member.isAlive {
      try initialiseFreespace(UInt64(index), member)
    }
    try count(reserved)
    openBuckets.release(reserved.map(\.position))
    try makeFirstSubvolume()
    try makeFirstDirectories()
    try journal.flush(upTo: journal.currentSequence)
    try store.update { superblock in
      superblock.changeMembers { members in
        for index in members.indices where members[index].isAlive {
          members[index].freespaceInitialized = true
        }
      }
      superblock.compatMask = superblock.compatMask.union([
        .extentsAboveBtreeUpdatesDone, .bformatOverflowDone,
      ])
      superblock.finishRecovery(foundErrors: false, wasChecked: false)
      superblock.isInitialized = true
    }
  }

  /// A bucket that is in use from the beginning.
  private struct ReservedBucket {
    let position: BPos
    let type: DataType
    let sectors: UInt32
  }

  /// Of all devices, in the order of the alloc btree.
  private func reservedBuckets() -> [ReservedBucket] {
    var result: [ReservedBucket] = []
    for (index, member) in media.members.enumerated() where member.isAlive {
      let device = UInt8(truncatingIfNeeded: index)
      if let layout = store.layout(of: index) {
        for (bucket, sectors) in Self.superblockBuckets(of: member, layout) {
          result.append(
            ReservedBucket(
              position: Positions.bucket(device: device, bucket: bucket), type: .sb,
              sectors: sectors))
        }
      }
      for bucket in store.journalBuckets(of: index) {
        result.append(
          ReservedBucket(
            position: Positions.bucket(device: device, bucket: bucket), type: .journal,
            sectors: UInt32(truncatingIfNeeded: member.bucketSizeSectors)))
      }
    }
    return result.sorted { $0.position < $1.position }
  }

  private func initialiseFreespace(_ device: UInt64, _ member: MemberInfo) throws(VolumeError) {
    try run("dev_freespace_init") { (transaction) throws(TransactionError) in
      let count = member.bucketCount - member.firstBucket
      invariant(count <= Member.maxBucketCount, "a key can cover all buckets of a device")
      transaction.update(
        .freespace,
        BKey(type: .set, position: BPos(device, member.bucketCount), size: UInt32(count)),
        RawSpan())
      transaction.account(
        .deviceDataType(
          device: UInt8(truncatingIfNeeded: device), dataType: DataType.free.rawValue),
        [Int64(count), 0, 0])
      try transaction.commit()
    }
  }

  private func count(_ reserved: [ReservedBucket]) throws(VolumeError) {
    try run("mark_dev_sb", forEach: reserved) { (transaction, bucket) throws(TransactionError) in
      try transaction.changeBucket(bucket.position) { alloc in
        alloc.dataType = bucket.type.rawValue
        alloc.dirtySectors = bucket.sectors
      }
    }
  }

  // MARK: - What is in it

  private func makeFirstSubvolume() throws(VolumeError) {
    try run("initialize_subvolumes") { (transaction) throws(TransactionError) in
      for first in NewVolume.keys {
        unsafe transaction.update(first.btree, first.key, first.words.span.bytes)
      }
      try transaction.commit()
    }
  }

  private func makeFirstDirectories() throws(VolumeError) {
    var root = newDirectory(Positions.rootInode, permissions: 0o755)
    root.subvolume = Subvolume.root
    root.nlink = 1
    var lost = newDirectory(Positions.rootInode + 1, permissions: 0o700)
    let name = NewVolume.lostAndFound
    lost.directory = root.number
    lost.directoryOffset = NameHash(root).dirent(name.span)
    let place = Positions.dirent(
      directory: root.number, hash: lost.directoryOffset, snapshot: .max)
    try run("create_root_directory") { (transaction) throws(TransactionError) in
      for inode in [root, lost] {
        transaction.put(
          .inodes, .inodeV3, BPos(0, inode.number, .max), inode.encodedU64s
        ) { inode.encode(into: &$0) }
      }
      var failure: FormatError?
      transaction.put(
        .dirents, .dirent, place, Dirent.encodedU64s(nameByteCount: name.count)
      ) { value in
        do throws(FormatError) {
          _ = try Dirent.encode(
            target: .inode(lost.number), type: UInt8(lost.mode >> 12),
            name: name.rawBytes, into: &value)
        } catch {
          failure = error
        }
      }
      if let failure { throw .failed(VolumeError(failure)) }
      try transaction.commit()
    }
  }

  private func newDirectory(_ number: UInt64, permissions: UInt16) -> Inode {
    let superblock = media.superblock
    let option = StringHashOption(rawValue: UInt8(truncatingIfNeeded: media.options[.strHash]))
    let hasNewSiphash = superblock.featureMask.contains(.newSiphash)
    let type = option.type(newSiphash: hasNewSiphash) ?? .siphash
    var inode = Inode()
    inode.number = number
    inode.snapshot = .max
    inode.hashSeed = nextNodeSequence()
    inode.stringHash = type.rawValue
    inode.mode = 0o040000 | permissions
    let now = now
    inode.atime = now
    inode.ctime = now
    inode.mtime = now
    inode.otime = now
    return inode
  }
}
