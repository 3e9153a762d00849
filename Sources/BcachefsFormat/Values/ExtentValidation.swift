// SPDX-License-Identifier: GPL-2.0
// The rules for lists of pointers.
// Source: bcachefs extents.c (bch2_bkey_ptrs_validate and its callers).

internal import BcachefsSupport

extension ExtentEntries {
  /// What has been seen on the way through the entries.
  private struct Seen {
    var sizeOnDisk: UInt32
    var nonce: UInt32?
    var pointerCount = 0
    var hasWritten = false
    var hasUnwritten = false
    /// A stripe entry, or a crc entry, with no pointer after it yet.
    var pendingStripe = false
    var pendingCrc = false
  }

  /// Checks all entries of a key (`bch2_bkey_ptrs_validate`).
  public func validate(
    key: BKey, context: BKeyContext = .none, flags: BKeyValidation = []
  ) throws(FormatError) {
    let isBTreePtr = key.type == .btreePtr || key.type == .btreePtrV2
    var seen = Seen(sizeOnDisk: isBTreePtr ? context.btreeNodeSectors : key.size)
    var entries = entries
    while let entry = entries.next() {
      if case .invalid(let word) = entry {
        throw bad("type", UInt64(word.trailingZeroBitCount), .extent_ptrs_invalid_entry)
      }
      switch entry {
      case .ptr(let ptr):
        try validate(ptr, seen: &seen, context: context)
        continue
      case .reconcile, .reconcileBackpointer, .unknown: break
      case _ where isBTreePtr:
        throw bad("type", UInt64(key.type.rawValue), .btree_ptr_has_non_ptr)
      case .crc(let crc, _): try validate(crc, seen: &seen, context: context, flags: flags)
      case .stripePtr(let stripe):
        guard !seen.pendingStripe else {
          throw bad("stripe_ptr", stripe.stripe, .ptr_stripe_redundant)
        }
        seen.pendingStripe = true
      case .rebalance, .flags, .invalid: break
      }
    }
    try validateEnd(seen, key: key)
  }

  private func validateEnd(_ seen: Seen, key: BKey) throws(FormatError) {
    let count = UInt64(seen.pointerCount)
    guard count > 0 else { throw bad("ptr", 0, .extent_ptrs_no_ptrs) }
    guard seen.pointerCount <= ValueTables.maxPointers else {
      throw bad("ptr", count, .extent_ptrs_too_many_ptrs)
    }
    guard !(seen.hasWritten && seen.hasUnwritten) else {
      throw bad("unwritten", 1, .extent_ptrs_written_and_unwritten)
    }
    guard key.type == .extent || !seen.hasUnwritten else {
      throw bad("unwritten", 1, .extent_ptrs_unwritten)
    }
    guard !seen.pendingCrc else { throw bad("crc", count, .extent_ptrs_redundant_crc) }
    guard !seen.pendingStripe else {
      throw bad("stripe_ptr", count, .extent_ptrs_redundant_stripe)
    }
  }

  private func validate(
    _ ptr: ExtentPtr, seen: inout Seen, context: BKeyContext
  ) throws(FormatError) {
    if let device = context.device(UInt64(ptr.device)) {
      try validate(ptr, on: device, sizeOnDisk: seen.sizeOnDisk)
    }
    guard !(ptr.isCached && seen.pendingStripe) else {
      throw bad("cached", UInt64(ptr.device), .ptr_cached_and_erasure_coded)
    }
    if ptr.isUnwritten { seen.hasUnwritten = true } else { seen.hasWritten = true }
    seen.pendingStripe = false
    seen.pendingCrc = false
    seen.pointerCount += 1
  }

  private func validate(
    _ ptr: ExtentPtr, on device: BKeyContext.Device, sizeOnDisk: UInt32
  ) throws(FormatError) {
    var sameDevice = 0
    var others = pointers
    while let other = others.next() { sameDevice += other.ptr.device == ptr.device ? 1 : 0 }
    guard sameDevice <= 1 else {
      throw bad("dev", UInt64(ptr.device), .ptr_to_duplicate_device)
    }
    let size = UInt64(device.bucketSizeSectors)
    let bucket = ptr.offset / size
    guard bucket < device.bucketCount else {
      throw FormatError(
        .tooLarge, "bch_extent_ptr", "offset", found: bucket, expected: device.bucketCount,
        fsckError: .ptr_after_last_bucket)
    }
    guard bucket >= device.firstBucket else {
      throw FormatError(
        .tooSmall, "bch_extent_ptr", "offset", found: bucket, expected: device.firstBucket,
        fsckError: .ptr_before_first_bucket)
    }
    guard ptr.offset % size + UInt64(sizeOnDisk) <= size else {
      throw FormatError(
        .tooLarge, "bch_extent_ptr", "offset", found: ptr.offset % size + UInt64(sizeOnDisk),
        expected: size, fsckError: .ptr_spans_multiple_buckets)
    }
  }

  private func validate(
    _ crc: ExtentCrc, seen: inout Seen, context: BKeyContext, flags: BKeyValidation
  ) throws(FormatError) {
    let end = UInt64(crc.offset) + UInt64(crc.liveSize)
    guard end <= UInt64(crc.uncompressedSize) else {
      throw FormatError(
        .tooSmall, "bch_extent_crc", "uncompressed_size", found: UInt64(crc.uncompressedSize),
        expected: end, fsckError: .ptr_crc_uncompressed_size_too_small)
    }
    guard ChecksumType(rawValue: crc.checksumType).isKnown else {
      throw bad("csum_type", UInt64(crc.checksumType), .ptr_crc_csum_type_unknown)
    }
    guard CompressionType(rawValue: crc.compressionType).isKnown else {
      throw bad(
        "compression_type", UInt64(crc.compressionType), .ptr_crc_compression_type_unknown)
    }
    if ChecksumType(rawValue: crc.checksumType).isEncryption {
      let nonce = UInt32(crc.offset) + UInt32(crc.nonce)
      guard seen.nonce == nil || seen.nonce == nonce else {
        throw bad("nonce", UInt64(crc.nonce), .ptr_crc_nonce_mismatch)
      }
      seen.nonce = nonce
    }
    guard !seen.pendingCrc else { throw bad("crc", 0, .ptr_crc_redundant) }
    seen.pendingCrc = true
    let most = context.maxEncodedExtentSectors
    if crc.isEncoded, most > 0, crc.uncompressedSize > most,
      !flags.isDisjoint(with: [.write, .commit])
    {
      throw FormatError(
        .tooLarge, "bch_extent_crc", "uncompressed_size", found: UInt64(crc.uncompressedSize),
        expected: UInt64(most), fsckError: .ptr_crc_uncompressed_size_too_big)
    }
    seen.sizeOnDisk = crc.compressedSize
  }

  private func bad(
    _ field: StaticString, _ found: UInt64, _ error: FsckErrorID
  ) -> FormatError {
    FormatError(.invalid, "bch_extent_entry", field, found: found, fsckError: error)
  }
}

extension BTreePtrV2 {
  /// `bch2_btree_ptr_v2_validate`, without the rules for its pointers.
  ///
  /// - Parameter valueU64s: Words of the whole value.
  public func validate(
    key: BKey, valueU64s: Int, flags: BKeyValidation = []
  ) throws(FormatError) {
    guard valueU64s <= BTreePtrV2.maxU64s else {
      throw FormatError(
        .tooLarge, "bch_btree_ptr_v2", "u64s", found: UInt64(clamping: valueU64s),
        expected: UInt64(BTreePtrV2.maxU64s), fsckError: .btree_ptr_v2_val_too_big)
    }
    guard minKey < key.position else {
      throw FormatError(
        .outOfOrder, "bch_btree_ptr_v2", "min_key", found: minKey.offset,
        expected: key.position.offset, fsckError: .btree_ptr_v2_min_key_bad)
    }
    guard sectorsWritten != 0 || !flags.contains(.write) else {
      throw FormatError(
        .invalid, "bch_btree_ptr_v2", "sectors_written", fsckError: .btree_ptr_v2_written_0)
    }
  }
}
