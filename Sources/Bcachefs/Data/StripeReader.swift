// SPDX-License-Identifier: GPL-2.0
// Rebuilds what cannot be read of one block from the other blocks of its stripe.
//
// How it works
//   1. The copy's stripe entry names a key of the stripes btree: the blocks, and a checksum for
//      each granule of each.
//   2. Granule by granule: the block itself is tried first, since often only a part of it is bad.
//      Else as many other blocks are read as there are data blocks; one that cannot be read or
//      contradicts its checksum counts as lost too, and the next is taken in its place.
//   3. Parity gives the granule; it is compared with its own checksum.
// Invariants
//   (1) Nothing is returned as good that the stripe's checksums contradict. Where it has none, the
//       caller's own checksum has to decide.
//   (2) Memory is one granule of each block, which StripeLayout bounds.
// Locks: none; a reader belongs to one thread (it has working memory of its own).
// Source: ec.c (bch2_ec_read_extent, ec_do_recov).

internal import BcachefsFormat
internal import BcachefsSupport

final class StripeReader {
  private let media: VolumeMedia
  private let report: (ReadDamage) -> Void
  private let lookup: KeyLookup
  private var row = HeapBuffer(byteCount: 0)

  /// - Parameter report: Called for every block found bad.
  init(
    media: VolumeMedia, lookup: @escaping KeyLookup, report: @escaping (ReadDamage) -> Void
  ) {
    self.media = media
    self.report = report
    self.lookup = lookup
  }

  /// Gives sectors of a copy without trusting the copy.
  ///
  /// - Parameters:
  ///   - pointer: With a stripe.
  ///   - first: From where the copy starts, in sectors.
  ///   - target: Gets whole sectors.
  /// - Throws: `.allCopiesBad` when more blocks are lost than there is parity, with what was wrong
  ///   with each; `.corrupt` when stripe and copy do not fit each other, and what reading the
  ///   stripes btree throws.
  func rebuild(
    _ pointer: DecodedPtr, fromSector first: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    guard let link = pointer.stripe else {
      throw VolumeError(.allCopiesBad, "it is in no stripe")
    }
    guard let found = try lookup(.stripes, BPos(0, link.stripe)) else {
      throw VolumeError(.corrupt, "there is no stripe \(link.stripe)")
    }
    let layout = try StripeLayout(found)
    let wanted = UInt64(target.byteCount / 512)
    let start = Int(try layout.offset(of: pointer, sectors: first + wanted) + first)
    var done = 0
    while done < target.byteCount {
      let position = start + done / 512
      let granule = position / layout.granuleSectors
      let sectors = layout.sectors(ofGranule: granule)
      let place = try good(granule, ofBlock: Int(link.block), layout)
      let inside = (position - sectors.lowerBound) * 512
      let count = min(sectors.count * 512 - inside, target.byteCount - done)
      let buffer = row
      target.copy(
        buffer.bytes.extracting(place + inside..<place + inside + count), to: done)
      done += count
    }
  }

  /// Makes a granule of a block good.
  ///
  /// - Returns: Where in `row` it begins.
  private func good(
    _ granule: Int, ofBlock block: Int, _ layout: StripeLayout
  ) throws(VolumeError) -> Int {
    let byteCount = layout.sectors(ofGranule: granule).count * 512
    if row.byteCount < byteCount * layout.blocks.count {
      row = HeapBuffer(byteCount: byteCount * layout.blocks.count)
    }
    var problems: [String] = []
    if layout.hasChecksums, read(granule, ofBlock: block, layout, &problems) {
      return block * byteCount
    }
    var lost = [block]
    var goodCount = 0
    for other in layout.blocks.indices where other != block {
      if goodCount < layout.head.dataCount, read(granule, ofBlock: other, layout, &problems) {
        goodCount += 1
      } else {
        lost.append(other)
      }
    }
    guard goodCount == layout.head.dataCount else {
      throw VolumeError(
        .allCopiesBad,
        "stripe \(layout.number) has lost more than its parity gives: "
          + problems.joined(separator: ", "))
    }
    do throws(ParityError) {
      let geometry = try StripeGeometry(
        dataBlocks: layout.head.dataCount, parityBlocks: Int(layout.head.redundantCount),
        blockBytes: byteCount)
      let buffer = row
      var all = buffer.mutableBytes
      var bytes = all._mutatingExtracting(0..<geometry.byteCount)
      try geometry.recover(blocks: lost, in: &bytes)
    } catch {
      throw VolumeError(.corrupt, "stripe \(layout.number): \(error)")
    }
    let place = block * byteCount
    let buffer = row
    let rebuilt = buffer.bytes.extracting(place..<place + byteCount)
    guard layout.verifies(rebuilt, block: block, granule: granule) else {
      throw VolumeError(
        .allCopiesBad, "stripe \(layout.number): block \(block) as rebuilt has a wrong checksum")
    }
    return place
  }

  /// Reads a granule of a block to its place in `row`; false if it is bad.
  private func read(
    _ granule: Int, ofBlock block: Int, _ layout: StripeLayout, _ problems: inout [String]
  ) -> Bool {
    let sectors = layout.sectors(ofGranule: granule)
    let byteCount = sectors.count * 512
    let pointer = layout.blocks[block]
    let sector = pointer.offset + UInt64(sectors.lowerBound)
    let buffer = row
    var all = buffer.mutableBytes
    var bytes = all._mutatingExtracting(block * byteCount..<(block + 1) * byteCount)
    let problem: String
    do throws(VolumeError) {
      try media.read(pointer.device, atSector: sector, into: &bytes)
      if layout.verifies(bytes.bytes, block: block, granule: granule) { return true }
      problem = "checksum is wrong"
    } catch {
      problem = "\(error)"
    }
    problems.append("block \(block) on device \(pointer.device): \(problem)")
    if media.device(pointer.device) != nil {
      let text =
        "device \(pointer.device) sector \(sector): block \(block) of stripe \(layout.number): "
        + problem
      report(ReadDamage(device: pointer.device, sector: sector, text: text))
    }
    return false
  }
}
