// SPDX-License-Identifier: GPL-2.0
// Extents: what a key that points to data counts, and where.
//
// How it works
//   1. Each pointer adds its sectors to its bucket, by what they are there (dirty, cached, part of
//      a stripe), and leaves a backpointer; cached pointers leave none, so that their bucket can be
//      used again without a look at them.
//   2. Counted are sectors by replicas, by snapshot, by file, by compression, and those that wait
//      for rebalance, which also get a key in rebalance_work.
//   3. A pointer whose generation is not its bucket's is stale. Cached, it points to nothing and is
//      not counted. Dirty, it is refused when it comes; when it goes, the bucket is left as it is,
//      and the volume is marked to be checked.
// Invariants
//   (1) What a key counts out when it goes is what it counted in, as long as its bucket's
//       generation is the same.
// Source: buckets.c (bch2_trigger_extent, bch2_trigger_reservation, bch2_bucket_ref_update),
// extents.c (bch2_bkey_sectors_need_rebalance).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  /// Counts what a key of extents or reflink overwrites out.
  func runExtentOverwriteTrigger(_ update: TransactionUpdate) throws(TransactionError) {
    let old = try committed(update)
    if update.btree == .reflink, update.isIndirectWithoutUsers {
      delete(.reflink, update.position, flags: .noTriggers)
    } else if let old, Self.hasSamePointers(old, update.view) {
      return finishTriggers(of: update)
    }
    if let old { try follow(old, update.btree, isInsert: false) }
  }

  /// Counts what a key of extents or reflink brings in.
  func runExtentInsertTrigger(_ update: TransactionUpdate) throws(TransactionError) {
    if update.type == .reflinkP { return try countReferences(of: update) }
    try follow(update.view, update.btree, isInsert: true)
  }

  private static func hasSamePointers(_ old: KeyView, _ new: KeyView) -> Bool {
    guard old.key.type == new.key.type, old.key.type == .extent || old.key.type == .reflinkV else {
      return false
    }
    return old.withValue { a in
      new.withValue { b in
        let head = old.key.type == .reflinkV ? ReflinkHead.byteCount : 0
        guard a.byteCount == b.byteCount, a.byteCount >= head else { return false }
        return stride(from: head, to: a.byteCount, by: 8).allSatisfy {
          a[LEField<UInt64>($0)] == b[LEField<UInt64>($0)]
        }
      }
    }
  }

  private func follow(
    _ found: KeyView, _ btree: BTreeID, isInsert: Bool
  ) throws(TransactionError) {
    switch found.key.type {
    case .extent, .reflinkV: try markExtent(found, btree, isInsert: isInsert)
    case .reflinkP: try releaseReferences(of: found)
    case .reservation:
      let replicas = found.withValue { (try? Reservation(decoding: $0))?.replicas ?? 0 }
      account(
        .persistentReserved(replicas: replicas),
        [isInsert ? Int64(found.key.size) : -Int64(found.key.size)])
    default: break
    }
  }

  // MARK: - Pointers

  private func markExtent(
    _ found: KeyView, _ btree: BTreeID, isInsert: Bool
  ) throws(TransactionError) {
    let key = found.key
    let sign: Int64 = isInsert ? 1 : -1
    var sums = ExtentSums()
    try found.withValue { (value) throws(TransactionError) in
      let entries = try entries(key, value)
      var pointers = entries.pointers
      while let pointer = pointers.next() {
        guard let size = pointer.diskSectors(of: key) else {
          throw .failed(
            VolumeError(.corrupt, "\(key): compressed data that was nothing before"))
        }
        let sectors = sign * size
        let isStale = try mark(pointer, sectors, key, btree)
        if pointer.ptr.isCached, isStale { continue }
        sums.add(pointer, sectors)
        if !pointer.ptr.isCached, let stripe = pointer.stripe {
          try count(pointer.ptr, in: stripe, sectors)
        }
      }
      markRebalance(entries, of: key, sign: sign)
    }
    sums.forEachCount(of: key, sign: sign) { account($0, $1) }
  }

  @_lifetime(copy value)
  private func entries(
    _ key: BKey, _ value: RawSpan
  ) throws(TransactionError) -> ExtentEntries {
    let range: Range<Int>
    do throws(FormatError) { range = try ExtentEntries.range(of: key, value: value) } catch {
      throw .failed(VolumeError(error))
    }
    return ExtentEntries(
      value.extracting(range), keySize: key.size, sizes: engine.media.entrySizes)
  }

  /// Counts a pointer's sectors in its bucket.
  ///
  /// - Returns: Whether it is stale.
  private func mark(
    _ pointer: DecodedPtr, _ sectors: Int64, _ key: BKey, _ btree: BTreeID
  ) throws(TransactionError) -> Bool {
    let place = pointer.ptr
    guard let member = engine.media.member(place.device), member.bucketSizeSectors > 0 else {
      if sectors > 0, place.device != Member.invalidDevice {
        throw .failed(
          VolumeError(.corrupt, "\(key): points to device \(place.device), which is no member"))
      }
      return false
    }
    guard sectors != 0 else { return false }
    let bucket = Positions.bucket(
      device: place.device, bucket: place.offset / member.bucketSizeSectors)
    let isStriped = pointer.stripe != nil
    let type = isStriped ? DataType.stripe : DataType.user
    let isStale = try count(
      place, sectors, type, in: bucket, of: key,
      isStriped ? \.stripeSectors : place.isCached ? \.cachedSectors : \.dirtySectors)
    if !place.isCached {
      let value = Backpointer(
        btree: btree, level: 0, dataType: type.rawValue, bucketOffset: UInt64(pointer.crc.offset),
        bucketLength: UInt32(truncatingIfNeeded: sectors.magnitude), position: key.position)
      try setBackpointer(of: place, value, isSet: sectors > 0)
    }
    return isStale
  }

  // MARK: - Buckets

  /// Adds to the sectors that a bucket holds of a kind, and gives it the type of what it holds
  /// (`bch2_bucket_ref_update`).
  ///
  /// - Returns: Whether the pointer is stale: a cached one to what is not there any more.
  @discardableResult
  func count(
    _ place: ExtentPtr, _ sectors: Int64, _ type: DataType, in bucket: BPos, of key: BKey,
    _ field: WritableKeyPath<AllocV4, UInt32>
  ) throws(TransactionError) -> Bool {
    var alloc = try self.bucket(bucket, .intent)
    if let id = alloc.contradiction(to: place, type) {
      if place.isCached, id == .stale_dirty_ptr { return true }
      try note(id, bucket, alloc, place, key, isInsert: sectors > 0)
      return false
    }
    if let sum = UInt32(exactly: Int64(alloc[keyPath: field]) + sectors) {
      alloc[keyPath: field] = sum
    } else {
      try note(
        .bucket_sector_count_overflow, bucket, alloc, place, key, isInsert: sectors > 0)
      alloc[keyPath: field] = 0
    }
    alloc.dataType = alloc.derivedDataType(type.rawValue)
    put(alloc, at: bucket, flags: [])
    return false
  }

  /// Takes note that a bucket and a pointer contradict each other.
  ///
  /// - Throws: where the pointer is new.
  private func note(
    _ id: FsckErrorID, _ bucket: BPos, _ alloc: AllocV4, _ place: ExtentPtr, _ key: BKey,
    isInsert: Bool
  ) throws(TransactionError) {
    engine.store.recordFinding(id)
    engine.store.noteInconsistency()
    guard isInsert else { return }
    throw .failed(
      VolumeError(
        .corrupt,
        "\(id): bucket \(bucket.inode):\(bucket.offset) gen \(alloc.generation) data type "
          + "\(DataType(rawValue: alloc.dataType)): cannot take \(key) with gen \(place.generation)"
      ))
  }

  // MARK: - Rebalance

  private func markRebalance(_ entries: ExtentEntries, of key: BKey, sign: Int64) {
    guard let wish = entries.rebalance else { return }
    let sectors = engine.targets.sectorsToRebalance(entries, wish)
    guard sectors != 0 else { return }
    if sign > 0 {
      update(.rebalanceWork, BKey(type: .set, position: key.position), RawSpan())
    } else {
      delete(.rebalanceWork, key.position)
    }
    account(.rebalanceWork, [sign * sectors])
  }
}

extension AllocV4 {
  /// Why a pointer cannot be to what is in this bucket; nil where it can.
  fileprivate func contradiction(to place: ExtentPtr, _ type: DataType) -> FsckErrorID? {
    let ahead = Int8(bitPattern: place.generation &- generation)
    if ahead > 0 { return .ptr_gen_newer_than_bucket_gen }
    if -Int(ahead) > Int(Self.maxGenerationLag) { return .ptr_too_stale }
    if ahead != 0 { return .stale_dirty_ptr }
    if !isEmpty, !DataType(rawValue: dataType).sharesBuckets(with: type) {
      return .ptr_bucket_data_type_mismatch
    }
    return nil
  }
}
