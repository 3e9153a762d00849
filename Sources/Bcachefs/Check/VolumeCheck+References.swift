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
    let atOnce = max(options.memoryBytes / MemoryLayout<SharedExtent>.stride, 16)
    var start: BPos? = .min
    var isFirst = true
    while let from = start {
      var table: [SharedExtent] = []
      start = nil
      let cursor = BTreeCursor(forest, .reflink)
      cursor.seek(from)
      while let found = cursor.nextReadable() {
        try step()
        guard Self.isShared(found.key.type) else { continue }
        guard table.count < atOnce else {
          start = found.key.position
          break
        }
        table.append(
          SharedExtent(start: found.key.start.offset, end: found.key.position.offset))
      }
      guard isFirst || !table.isEmpty else { return }
      let covered = (isFirst ? 0 : table[0].start)..<(start == nil ? .max : table.last?.end ?? 0)
      try forEachKey(of: .extents) { (found) throws(VolumeError) in
        guard found.key.type == .reflinkP else { return }
        count(found, &table, covered)
      }
      try compare(table, from: from, isFirst: isFirst)
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
    var index = table.firstIndex(behind: next)
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

  private func compare(
    _ table: [SharedExtent], from start: BPos, isFirst: Bool
  ) throws(VolumeError) {
    let cursor = BTreeCursor(forest, .reflink)
    cursor.seek(start)
    for extent in table {
      try step()
      while let found = cursor.nextReadable() {
        guard found.key.position.offset >= extent.end else { continue }
        let count: UInt64 = found.withValue { $0.byteCount < 8 ? 0 : $0[LEField<UInt64>(0)] }
        if found.key.position.offset == extent.end, count != extent.users {
          report(
            .reflink_v_refcount_wrong,
            "reflink key has wrong refcount:\n  \(text(found))\n  should be \(extent.users)")
        }
        break
      }
    }
  }

  // MARK: - Stripes

  func checkStripes() throws(VolumeError) {
    let atOnce = max(options.memoryBytes / 512, 16)
    var start: BPos? = .min
    var isFirst = true
    while let from = start {
      var table: [StripeUse] = []
      start = nil
      let cursor = BTreeCursor(forest, .stripes)
      cursor.seek(from)
      while let found = cursor.nextReadable() {
        try step()
        guard found.key.type == .stripe,
          let blocks = found.withValue({ try? StripeBlocks(decoding: $0) })
        else { continue }
        guard table.count < atOnce else {
          start = found.key.position
          break
        }
        table.append(
          StripeUse(
            index: found.key.position.offset, blocks: blocks,
            sectors: [Int64](repeating: 0, count: blocks.places.count)))
      }
      guard isFirst || !table.isEmpty else { return }
      let covered =
        (isFirst ? 0 : table[0].index)...(start == nil ? .max : table.last?.index ?? 0)
      for btree in [BTreeID.extents, .reflink] {
        try forEachKey(of: btree) { (found) throws(VolumeError) in
          guard found.key.type == .extent || found.key.type == .reflinkV else { return }
          try count(found, &table, covered)
        }
      }
      try compare(table)
      isFirst = false
    }
  }

  private func count(
    _ found: KeyReference, _ table: inout [StripeUse], _ covered: ClosedRange<UInt64>
  ) throws(VolumeError) {
    var pointers: [DecodedPtr] = []
    try media.withEntries(of: found) { entries in
      var walk = entries.pointers
      while let pointer = walk.next() {
        if pointer.stripe != nil, !pointer.ptr.isCached { pointers.append(pointer) }
      }
    }
    for pointer in pointers {
      guard let stripe = pointer.stripe, covered.contains(stripe.stripe),
        let sectors = pointer.diskSectors(of: found.key)
      else { continue }
      guard let index = table.index(of: stripe.stripe) else {
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
      let bad = (0..<use.blocks.dataCount).filter { counted[$0] != use.sectors[$0] }
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

extension [SharedExtent] {
  /// The first that ends behind a sector.
  fileprivate func firstIndex(behind sector: UInt64) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if self[middle].end <= sector { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

extension [StripeUse] {
  fileprivate func index(of stripe: UInt64) -> Int? {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if self[middle].index < stripe { low = middle + 1 } else { high = middle }
    }
    return low < count && self[low].index == stripe ? low : nil
  }
}
