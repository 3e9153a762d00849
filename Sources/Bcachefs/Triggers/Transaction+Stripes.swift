// SPDX-License-Identifier: GPL-2.0
// Stripes: buckets become part of one, parity is counted, and each block knows how many of its
// sectors are in use.
//
// How it works
//   1. A stripe's blocks are whole buckets. While they are, the bucket's key names the stripe;
//      parity counts as dirty sectors there.
//   2. A pointer to data in a stripe adds its sectors to the block's count in the stripe's key.
// Invariants
//   (1) A bucket is part of one stripe at most; parity shares its bucket with nothing.
// Source: ec.c (bch2_trigger_stripe, __mark_stripe_bucket), buckets.c (bch2_trigger_stripe_ptr).

internal import BcachefsFormat
internal import BcachefsSupport

extension Transaction {
  private func blocks(_ found: KeyView?) throws(TransactionError) -> StripeBlocks? {
    guard let found, found.key.type == .stripe else { return nil }
    return try found.decoded { (value) throws(FormatError) in try StripeBlocks(decoding: value) }
  }

  func runStripeTrigger(_ update: TransactionUpdate) throws(TransactionError) {
    let old = try blocks(try committed(update))
    let new = try blocks(update.view)
    guard old != new else { return }
    if let old, let new,
      old.places.count != new.places.count || old.redundantCount != new.redundantCount
    {
      throw .failed(
        VolumeError(.corrupt, "stripe \(update.position): the number of its blocks cannot change"))
    }
    if let new {
      account(new.replicas(.parity), [Int64(new.sectors) * Int64(new.redundantCount)])
    }
    if let old {
      account(old.replicas(.parity), [-Int64(old.sectors) * Int64(old.redundantCount)])
    }
    for block in 0..<(new ?? old ?? StripeBlocks.none).places.count {
      if let old, let new, old.places[block] == new.places[block] { continue }
      if let new { try mark(new, block, update.key, isInsert: true) }
      if let old { try mark(old, block, update.key, isInsert: false) }
    }
  }

  /// Makes a bucket part of a stripe, or not any more.
  private func mark(
    _ stripe: StripeBlocks, _ block: Int, _ key: BKey, isInsert: Bool
  ) throws(TransactionError) {
    let place = stripe.places[block]
    guard let member = engine.media.member(place.device), member.bucketSizeSectors > 0 else {
      guard !isInsert || place.device == Member.invalidDevice else {
        throw .failed(
          VolumeError(.corrupt, "\(key): points to device \(place.device), which is no member"))
      }
      return
    }
    let bucket = Positions.bucket(
      device: place.device, bucket: place.offset / member.bucketSizeSectors)
    let isParity = block >= stripe.dataCount
    let type = isParity ? DataType.parity : DataType.stripe
    let alloc = try self.bucket(bucket, .intent)
    let index = UInt32(truncatingIfNeeded: key.position.offset)
    let fits =
      isInsert
      ? alloc.stripe == 0 && alloc.stripeRedundancy == 0 && (!isParity || alloc.totalSectors == 0)
      : alloc.stripe == index && Int(alloc.stripeRedundancy) == stripe.redundantCount
        && alloc.dataType == type.rawValue
        && (!isParity || alloc.dirtySectors == UInt32(stripe.sectors) && alloc.cachedSectors == 0)
    guard fits else {
      throw .failed(
        VolumeError(
          .corrupt,
          "bucket \(bucket.inode):\(bucket.offset) gen \(alloc.generation) cannot "
            + "\(isInsert ? "become" : "stop being") block \(block) of stripe \(index): it is "
            + "\(DataType(rawValue: alloc.dataType)), of stripe \(alloc.stripe), with "
            + "\(alloc.totalSectors) sectors"))
    }
    if isParity {
      let sectors = Int64(stripe.sectors)
      try count(
        place, isInsert ? sectors : -sectors, type, in: bucket, of: key, \.dirtySectors)
    }
    try changeBucket(bucket) { (alloc) throws(VolumeError) in
      alloc.stripe = isInsert ? index : 0
      alloc.stripeRedundancy = isInsert ? UInt8(truncatingIfNeeded: stripe.redundantCount) : 0
      alloc.dataType = alloc.derivedDataType(isInsert ? type.rawValue : DataType.user.rawValue)
    }
  }

  /// Counts sectors of a stripe's block in or out of use.
  func count(
    _ place: ExtentPtr, in pointer: ExtentStripePtr, _ sectors: Int64
  ) throws(TransactionError) {
    let found = try lookup(.stripes, BPos(0, pointer.stripe), .intent)
    guard let found, let stripe = try blocks(found) else {
      throw .failed(mismatch(.ptr_to_missing_stripe, place, pointer))
    }
    let block = Int(pointer.block)
    guard stripe.holds(place, block: block) else {
      throw .failed(mismatch(.ptr_to_incorrect_stripe, place, pointer))
    }
    let old = found.withValue { value in
      (try? Stripe(decoding: value))?.sectorsInUse(block: block)
    }
    guard let old, let sum = UInt16(exactly: Int64(old) + sectors) else {
      throw .failed(mismatch(.stripe_sector_count_wrong, place, pointer))
    }
    var words = change(.stripes, found).words
    var value = words._mutatingExtracting(BKey.Layout.byteCount..<words.byteCount)
    do throws(FormatError) {
      let head = try Stripe(decoding: value.bytes).head
      try Stripe.set(sectorsInUse: sum, block: block, head: head, in: &value)
    } catch {
      throw .failed(VolumeError(error))
    }
    account(stripe.replicas(.user), [sectors])
  }

  private func mismatch(
    _ id: FsckErrorID, _ place: ExtentPtr, _ pointer: ExtentStripePtr
  ) -> VolumeError {
    engine.store.recordFinding(id)
    engine.store.noteInconsistency()
    return VolumeError(
      .corrupt,
      "\(id): \(place) says that it is in block \(pointer.block) of stripe \(pointer.stripe)")
  }
}
