// SPDX-License-Identifier: GPL-2.0
// Buckets: what changes of one, and what follows from it.
//
// How it works
//   1. `changeBucket` reads a bucket's key as the transaction sees it, changes it, and makes it an
//      update. A bucket without a key is free and of generation 0.
//   2. The trigger gives the bucket its type from its counts. At first use it is marked to be
//      discarded and to get a new generation before it is used again; when nothing is in it any
//      more, and nobody writes to it, it gets the generation, and has to be discarded.
//   3. From the old and the new state follow: freespace, need_discard, both LRUs, bucket_gens, and
//      the device's counters by data type.
//   4. The journal entry in which a bucket becomes empty, or is used, is only known when there is a
//      reservation: the commit writes it into the key (`.stampsBucket`).
// Invariants
//   (1) A bucket is in freespace if and only if its type is free, in need_discard if and only if it
//       is need_discard.
// Source: alloc_background.c (bch2_trigger_alloc, bch2_bucket_do_index,
// bch2_alloc_key_to_dev_counters).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Reads the state of a bucket.
  func bucket(_ position: BPos, _ mode: LockMode) throws(TransactionError) -> AllocV4 {
    guard let found = try lookup(.alloc, position, mode) else { return AllocV4() }
    return try Self.alloc(found)
  }

  private static func alloc(_ found: KeyView) throws(TransactionError) -> AllocV4 {
    guard found.key.type == .allocV4 else {
      throw .failed(
        VolumeError(.unsupported, "\(found.key): written by an older version; upgrade first"))
    }
    return try found.decoded { (value) throws(FormatError) in try AllocV4(decoding: value) }
  }

  /// Changes the bucket that a pointer leads into.
  func changeBucket(
    of place: ExtentPtr, _ change: (inout AllocV4) throws(VolumeError) -> Void
  ) throws(TransactionError) {
    let sectors = try member(place.device).bucketSizeSectors
    let position = Positions.bucket(device: place.device, bucket: place.offset / sectors)
    try changeBucket(position, change)
  }

  func changeBucket(
    _ position: BPos, _ change: (inout AllocV4) throws(VolumeError) -> Void
  ) throws(TransactionError) {
    var alloc = try bucket(position, .intent)
    do throws(VolumeError) { try change(&alloc) } catch { throw .failed(error) }
    put(alloc, at: position, flags: [])
  }

  func put(_ alloc: AllocV4, at position: BPos, flags: TransactionUpdate.Flags) {
    var words = InlineArray<8, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    alloc.encode(into: &bytes)
    update(
      .alloc, BKey(type: .allocV4, position: position, valueU64s: AllocV4.encodedU64s),
      bytes.bytes, flags: flags)
  }

  // MARK: - Trigger

  /// The device of a bucket, which has that bucket.
  func device(ofBucket position: BPos) throws(TransactionError) -> (index: UInt8, MemberInfo) {
    guard let index = UInt8(exactly: position.inode) else {
      throw .failed(VolumeError(.corrupt, "bucket \(position): there is no such device"))
    }
    let member = try member(index)
    guard position.offset >= member.firstBucket, position.offset < member.bucketCount else {
      throw .failed(
        VolumeError(
          .corrupt,
          "bucket \(position): the device has buckets \(member.firstBucket) to "
            + "\(member.bucketCount)"))
    }
    return (index, member)
  }

  func runAllocTrigger(_ update: TransactionUpdate) throws(TransactionError) {
    let position = update.position
    let (device, member) = try device(ofBucket: position)
    let size = UInt32(member.bucketSizeSectors)
    let old = try committedBucket(position)
    var new = try Self.alloc(update.view)
    new.dataType = new.derivedDataType(new.dataType)
    if new.totalSectors > old.totalSectors {
      new.needsGenerationIncrement = true
      new.needsDiscard = true
      new.readTime = max(1, engine.journal.readClock)
      new.writeTime = max(1, engine.journal.writeClock)
    }
    if new.isEmpty, new.needsGenerationIncrement, !engine.openBuckets.contains(position) {
      new.generation &+= 1
      new.needsGenerationIncrement = false
      new.dataType = new.derivedDataType(new.dataType)
    }
    let becomes = old.isEmpty != new.isEmpty
    put(new, at: position, flags: becomes ? [.noTriggers, .stampsBucket] : .noTriggers)
    if old.dataType != new.dataType
      || new.isFree && old.generationLag >> 4 != new.generationLag >> 4
    {
      try index(position, old, isSet: false)
      try index(position, new, isSet: true)
    }
    moveInLRU(UInt16(device), position, old.readLRUTime, new.readLRUTime)
    moveInLRU(
      Positions.fragmentationLRU, position, old.fragmentationLRUTime(bucketSizeSectors: size),
      new.fragmentationLRUTime(bucketSizeSectors: size))
    if old.generation != new.generation { try setGeneration(position, new.generation) }
    countOnDevice(device, size, old, new)
  }

  /// A bucket as it is in the btree, whatever this transaction will do.
  private func committedBucket(_ position: BPos) throws(TransactionError) -> AllocV4 {
    guard let node = try node(.alloc, level: 0, position, .intent),
      let found = node.with({ $0.find(position) })
    else { return AllocV4() }
    return try Self.alloc(found)
  }

  // MARK: - Indices

  /// Puts a bucket into freespace or need_discard, or takes it out.
  private func index(
    _ position: BPos, _ alloc: AllocV4, isSet: Bool
  ) throws(TransactionError) {
    if alloc.dataType == DataType.needDiscard.rawValue {
      if isSet { setKey(.needDiscard, position) } else { delete(.needDiscard, position) }
    } else if alloc.isFree {
      try changeFreespace(
        Positions.freespace(bucket: position, generationLag: alloc.generationLag), isSet: isSet)
    }
  }

  private func setKey(_ btree: BTreeID, _ position: BPos) {
    update(btree, BKey(type: .set, position: position), RawSpan())
  }

  /// Freespace keys cover ranges of buckets, which are cut and join like extents.
  private func changeFreespace(_ start: BPos, isSet: Bool) throws(TransactionError) {
    guard let end = start.nextOffset else { return }
    if !isSet {
      let found = try next(.freespace, from: end, upTo: BPos(start.inode, .max, .max), .intent)
      guard let found, found.key.start <= start else {
        throw .failed(
          VolumeError(.corrupt, "bucket \(start) is free, and not in the freespace btree"))
      }
    }
    try updateExtent(
      .freespace, BKey(type: isSet ? .set : .deleted, position: end, size: 1), RawSpan())
  }

  private func moveInLRU(_ id: UInt16, _ bucket: BPos, _ old: UInt64, _ new: UInt64) {
    guard old != new else { return }
    let word = Positions.word(ofBucket: bucket)
    if old != 0 { delete(.lru, Positions.lru(id: id, bucketWord: word, time: old)) }
    if new != 0 { setKey(.lru, Positions.lru(id: id, bucketWord: word, time: new)) }
  }

  /// Generations of 256 buckets stand in one key.
  private func setGeneration(_ bucket: BPos, _ generation: UInt8) throws(TransactionError) {
    let (position, index) = Positions.bucketGens(bucket: bucket)
    var bytes = [UInt8](repeating: 0, count: BucketGens.count)
    if let old = try lookup(.bucketGens, position, .intent) {
      old.withValue { value in
        for place in 0..<min(value.byteCount, bytes.count) {
          bytes[place] = value[LEField<UInt8>(place)]
        }
      }
    }
    bytes[index] = generation
    update(
      .bucketGens, BKey(type: .bucketGens, position: position, valueU64s: bytes.count / 8),
      bytes.rawBytes)
  }

  private func countOnDevice(_ device: UInt8, _ size: UInt32, _ old: AllocV4, _ new: AllocV4) {
    func count(_ type: UInt8, _ buckets: Int64, _ sectors: Int64, _ fragmented: Int64) {
      account(.deviceDataType(device: device, dataType: type), [buckets, sectors, fragmented])
    }
    let (oldSectors, newSectors) = (Int64(old.countedSectors), Int64(new.countedSectors))
    let (oldRest, newRest) = (old.fragmentedSectors(size), new.fragmentedSectors(size))
    if old.dataType != new.dataType {
      count(new.dataType, 1, newSectors, newRest)
      count(old.dataType, -1, -oldSectors, -oldRest)
    } else if oldSectors != newSectors {
      count(new.dataType, 0, newSectors - oldSectors, newRest - oldRest)
    }
    let (oldUnstriped, newUnstriped) = (old.unstripedSectors, new.unstripedSectors)
    if oldUnstriped != newUnstriped {
      count(
        DataType.unstriped.rawValue, (newUnstriped != 0 ? 1 : 0) - (oldUnstriped != 0 ? 1 : 0),
        newUnstriped - oldUnstriped, 0)
    }
  }
}

extension AllocV4 {
  /// `bch2_bucket_sectors_total`
  var totalSectors: UInt64 { UInt64(stripeSectors) + UInt64(dirtySectors) + UInt64(cachedSectors) }

  /// `data_type_is_empty`
  var isEmpty: Bool {
    switch DataType(rawValue: dataType) {
    case .free, .needGcGens, .needDiscard: true
    default: false
    }
  }

  var isFree: Bool { dataType == DataType.free.rawValue }

  /// `bch2_bucket_sectors`
  var countedSectors: UInt32 {
    dataType == DataType.cached.rawValue ? cachedSectors : dirtyTotalSectors
  }

  /// `bch2_bucket_sectors_fragmented`
  func fragmentedSectors(_ size: UInt32) -> Int64 {
    countedSectors == 0 ? 0 : max(0, Int64(size) - Int64(countedSectors))
  }

  /// `bch2_bucket_sectors_unstriped`
  var unstripedSectors: Int64 {
    dataType == DataType.stripe.rawValue ? Int64(dirtySectors) : 0
  }
}

extension BPos {
  /// The position one sector, or one bucket, further on.
  fileprivate var nextOffset: BPos? {
    offset == .max ? nil : BPos(inode, offset + 1, snapshot)
  }
}
