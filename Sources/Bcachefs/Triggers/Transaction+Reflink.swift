// SPDX-License-Identifier: GPL-2.0
// Shared data: a file's reflink_p counts as one user of every indirect extent below it.
//
// How it works
//   1. A new reflink_p adds one to each indirect extent that it covers, and takes note of how far
//      the first and last of them reach beyond it (`frontPad`, `backPad`): when it goes, it gives
//      back exactly these, whatever has been split since.
//   2. An indirect extent without users is deleted in the same transaction
//      (Transaction+Extents.swift).
// Source: reflink.c (trans_trigger_reflink_p_segment, check_indirect_extent_deleting).

internal import BcachefsFormat
internal import BcachefsSupport

extension TransactionUpdate {
  /// Whether it is an indirect extent that nobody uses.
  var isIndirectWithoutUsers: Bool {
    guard type == .reflinkV || type == .indirectInlineData else { return false }
    return view.withValue { (try? ReflinkHead(decoding: $0))?.refcount ?? 0 } == 0
  }
}

extension Transaction {
  /// Counts a new reflink_p in, and completes it.
  func countReferences(of update: TransactionUpdate) throws(TransactionError) {
    let key = update.key
    var pointer = try Self.reflinkP(update.view)
    pointer.frontPad = 0
    pointer.backPad = 0
    let end = pointer.index + UInt64(key.size)
    var next = pointer.index
    while next < end {
      let extent = try countReference(at: next, adding: 1, key)
      if extent.start.offset < pointer.index {
        pointer.frontPad = max(
          pointer.frontPad, try Self.pad(pointer.index - extent.start.offset, key))
      }
      if extent.position.offset > end {
        pointer.backPad = max(pointer.backPad, try Self.pad(extent.position.offset - end, key))
      }
      next = extent.position.offset
    }
    var words = update.words
    var value = words._mutatingExtracting(BKey.Layout.byteCount..<words.byteCount)
    pointer.encode(into: &value)
  }

  /// Counts a reflink_p that goes out.
  func releaseReferences(of found: KeyView) throws(TransactionError) {
    let pointer = try Self.reflinkP(found)
    let end = pointer.index + UInt64(found.key.size) + UInt64(pointer.backPad)
    var next = pointer.index - min(pointer.index, UInt64(pointer.frontPad))
    while next < end {
      next = try countReference(at: next, adding: -1, found.key).position.offset
    }
  }

  private static func reflinkP(_ found: KeyView) throws(TransactionError) -> ReflinkP {
    try found.decoded { (value) throws(FormatError) in try ReflinkP(decoding: value) }
  }

  private static func pad(_ sectors: UInt64, _ key: BKey) throws(TransactionError) -> UInt32 {
    guard let pad = UInt32(exactly: sectors) else {
      throw .failed(VolumeError(.corrupt, "\(key): its indirect extent is too long"))
    }
    return pad
  }

  /// Changes the count of users of the indirect extent at a sector.
  ///
  /// - Returns: its key.
  private func countReference(
    at sector: UInt64, adding delta: Int64, _ user: BKey
  ) throws(TransactionError) -> BKey {
    let found = try next(
      .reflink, from: BPos(0, sector + 1), upTo: BPos(0, .max, .max), .intent)
    guard let found, found.key.start.offset <= sector,
      found.key.type == .reflinkV || found.key.type == .indirectInlineData
    else {
      engine.store.recordFinding(.reflink_p_to_missing_reflink_v)
      engine.store.noteInconsistency()
      throw .failed(
        VolumeError(
          .corrupt,
          "\(user): points to sector \(sector) of the reflink btree, where there is no indirect "
            + "extent"))
    }
    let count = found.withValue { (try? ReflinkHead(decoding: $0))?.refcount ?? 0 }
    let (sum, overflow) = count.addingReportingOverflow(UInt64(bitPattern: delta))
    guard delta > 0 ? !overflow && found.key.valueByteCount >= ReflinkHead.byteCount : count > 0
    else {
      engine.store.recordFinding(.reflink_v_refcount_wrong)
      engine.store.noteInconsistency()
      throw .failed(
        VolumeError(
          .corrupt,
          "indirect extent \(found.key) has \(count) users, and cannot have \(delta) more"))
    }
    let key = found.key
    var words = change(.reflink, found).words
    words[LEField<UInt64>(BKey.Layout.byteCount)] = sum
    return key
  }
}
