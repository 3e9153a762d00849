// SPDX-License-Identifier: GPL-2.0
// Who uses indirect extents, and how much of a stripe's blocks is in use.
//
// How it works
//   As many indirect extents, or stripes, as the memory allows are put into a sorted table; one
//   walk over extents counts; the table is compared with the keys.
// Invariants
//   (1) A pointer is judged in the round whose table reaches over what it points to; the first
//       round reaches from the start, the last to the end.
// Source: btree_gc.c (bch2_gc_reflink_done, bch2_gc_stripes_done), reflink.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// An indirect extent, and how many users were found.
private struct SharedExtent {
  let start: UInt64
  let end: UInt64
  var users: UInt64 = 0
}

/// A stripe's blocks, and how many sectors of each were found in use.
private struct StripeUse {
  let index: UInt64
  let blocks: StripeBlocks
  var sectors: [Int64]
}

extension VolumeCheck {
  // MARK: - Shared extents

  func checkSharedExtents() throws(VolumeError) {
    try inRounds(.reflink, rowBytes: MemoryLayout<SharedExtent>.stride) { found in
      Self.isShared(found.key.type)
        ? SharedExtent(start: found.key.start.offset, end: found.key.position.offset) : nil
    } _: { (table, isFirst, isLast) throws(VolumeError) in
      let first = isFirst ? 0 : table[0].start
      let covered = first..<max(first, isLast ? .max : table.last?.end ?? 0)
      try forEachKey(of: .extents) { (found) throws(VolumeError) in
        guard found.key.type == .reflinkP else { return }
        count(found, &table, covered)
      }
      try compare(table)
    }
  }

  /// Calls `body` with rows for the keys of a btree, as many at a time as fit; once without any,
  /// where there are none.
  private func inRounds<Row>(
    _ btree: BTreeID, rowBytes: Int, _ row: (KeyReference) -> Row?,
    _ body: (inout [Row], _ isFirst: Bool, _ isLast: Bool) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    let atOnce = max(options.memoryBytes / rowBytes, 16)
    var start: BPos? = .min
    var isFirst = true
    while let from = start {
      var table: [Row] = []
      start = nil
      let cursor = BTreeCursor(forest, btree)
      cursor.seek(from)
      while let found = cursor.nextReadable() {
        try step()
        guard let row = row(found) else { continue }
        guard table.count < atOnce else {
          start = found.key.position
          break
        }
        table.append(row)
      }
      guard isFirst || !table.isEmpty else { return }
      try body(&table, isFirst, start == nil)
      isFirst = false
    }
  }

  private static func isShared(_ type: BKeyType) -> Bool {
    type == .reflinkV || type == .indirectInlineData
  }

  private func count(
    _ found: KeyReference, _ table: inout [SharedExtent], _ covered: Range<UInt64>
  ) {
    guard let pointer = found.withValue({ try? ReflinkP(decoding: $0) }) else { return }
    let end = min(
      pointer.index + UInt64(found.key.size) + UInt64(pointer.backPad), covered.upperBound)
    var next = max(
      pointer.index - min(pointer.index, UInt64(pointer.frontPad)), covered.lowerBound)
    guard next < end else { return }
    var index = table.sortedIndex(notBefore: { $0.end <= next })
    while next < end {
      let extent = index < table.count ? table[index] : nil
      if let extent, extent.start <= next {
        table[index].users += 1
        next = extent.end
        index += 1
        continue
      }
      let missing = next..<min(end, extent?.start ?? end)
      report(
        .reflink_p_to_missing_reflink_v,
        "pointer to missing indirect extent\n  \(text(found))\n  missing range "
          + "\(missing.lowerBound)-\(missing.upperBound)")
      next = missing.upperBound
    }
  }

  private func compare(_ table: [SharedExtent]) throws(VolumeError) {
    let cursor = BTreeCursor(forest, .reflink)
    for extent in table {
      try step()
      guard let found = try? cursor.lookup(BPos(0, extent.end)) else { continue }
      let count = found.withValue { (try? ReflinkHead(decoding: $0))?.refcount ?? 0 }
      guard count != extent.users else { continue }
      report(
        .reflink_v_refcount_wrong,
        "reflink key has wrong refcount:\n  \(text(found))\n  should be \(extent.users)")
    }
  }

  // MARK: - Stripes

  func checkStripes() throws(VolumeError) {
    try inRounds(.stripes, rowBytes: 512) { found -> StripeUse? in
      guard found.key.type == .stripe,
        let blocks = found.withValue({ try? StripeBlocks(decoding: $0) })
      else { return nil }
      return StripeUse(
        index: found.key.position.offset, blocks: blocks,
        sectors: [Int64](repeating: 0, count: blocks.places.count))
    } _: { (table, isFirst, isLast) throws(VolumeError) in
      let first = isFirst ? 0 : table[0].index
      let covered = first...max(first, isLast ? .max : table.last?.index ?? 0)
      for btree in [BTreeID.extents, .reflink] {
        try forEachKey(of: btree) { (found) throws(VolumeError) in
          guard found.key.type == .extent || found.key.type == .reflinkV else { return }
          try count(found, &table, covered)
        }
      }
      try compare(table)
    }
  }

  private func count(
    _ found: KeyReference, _ table: inout [StripeUse], _ covered: ClosedRange<UInt64>
  ) throws(VolumeError) {
    var pointers: [DecodedPtr] = []
    try? media.withEntries(of: found) { entries in
      var walk = entries.pointers
      while let pointer = walk.next() {
        if pointer.stripe != nil, !pointer.ptr.isCached { pointers.append(pointer) }
      }
    }
    for pointer in pointers {
      guard let stripe = pointer.stripe, covered.contains(stripe.stripe),
        let sectors = pointer.diskSectors(of: found.key)
      else { continue }
      let index = table.sortedIndex(notBefore: { $0.index < stripe.stripe })
      guard index < table.count, table[index].index == stripe.stripe else {
        report(
          .ptr_to_missing_stripe,
          "pointer to nonexistent stripe \(stripe.stripe)\nwhile marking \(text(found))")
        continue
      }
      guard table[index].blocks.holds(pointer.ptr, block: Int(stripe.block)) else {
        report(
          .ptr_to_incorrect_stripe,
          "pointer does not match stripe \(stripe.stripe)\nwhile marking \(text(found))")
        continue
      }
      table[index].sectors[Int(stripe.block)] += sectors
    }
  }

  private func compare(_ table: [StripeUse]) throws(VolumeError) {
    let cursor = BTreeCursor(forest, .stripes)
    for use in table {
      try step()
      guard let found = try? cursor.lookup(BPos(0, use.index)) else { continue }
      let counted = found.withValue { value in
        (0..<use.blocks.places.count).map { block in
          Int64((try? Stripe(decoding: value))?.sectorsInUse(block: block) ?? 0)
        }
      }
      let bad = use.blocks.places.indices.filter { counted[$0] != use.sectors[$0] }
      guard !bad.isEmpty else { continue }
      let lines = bad.map { block in
        "stripe block \(block) has wrong sector count: got \(counted[block]), should be "
          + "\(use.sectors[block])"
      }
      report(
        .stripe_sector_count_wrong, "\(lines.joined(separator: "\n"))\n  \(text(found))")
    }
  }
}
