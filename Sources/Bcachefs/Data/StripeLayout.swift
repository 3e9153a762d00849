// SPDX-License-Identifier: GPL-2.0
// An erasure-coded stripe, decoded and checked: where its blocks are, and what each part of them
// must sum to.
//
// Blocks are worked on in granules: the part of a block that one checksum covers, or a part of
// convenient size where there are no checksums.
//
// Invariants
//   (1) There are 1 or 2 parity blocks, at least one data block, a pointer for each.
//   (2) A granule of all blocks together is at most `granuleBytesMax`.
// Source: ec.c (ec_stripe_buf_init, ec_validate_checksums), ec.h (bch2_ptr_matches_stripe).

internal import BcachefsFormat
internal import BcachefsSupport

struct StripeLayout {
  /// What all granules of one row may take in memory.
  private static let granuleBytesMax = 256 << 20
  /// What is done at once where no checksum decides, in sectors.
  private static let plainGranuleSectors = 512
  /// No member, as a device index.
  private static let noDevice: UInt8 = 255

  /// Index in the stripes btree.
  let number: UInt64
  let head: Stripe.Head
  /// Data blocks first, then P, then Q.
  let blocks: [ExtentPtr]
  let granuleSectors: Int
  /// Whether there is a checksum for each granule, of a known type.
  let hasChecksums: Bool
  private let found: KeyReference

  /// - Throws: `.corrupt`, `.unsupported` for ways of coding that are not known, `.limit`.
  init(_ found: KeyReference) throws(VolumeError) {
    let number = found.key.position.offset
    guard found.key.type == .stripe else {
      throw VolumeError(.corrupt, "stripe \(number): a key of type \(found.key.type)")
    }
    self.found = found
    self.number = number
    do throws(FormatError) {
      (head, blocks) = try found.withValue { (value) throws(FormatError) in
        let stripe = try Stripe(decoding: value)
        try stripe.validate(key: found.key)
        let blocks = (0..<Int(stripe.head.blockCount)).compactMap { stripe.pointer(block: $0) }
        return (stripe.head, blocks)
      }
    } catch {
      throw VolumeError(error)
    }
    guard head.algorithm == 0 else {
      throw VolumeError(.unsupported, "stripe \(number): way of coding \(head.algorithm)")
    }
    guard 1...2 ~= head.redundantCount, head.dataCount > 0, head.sectors > 0,
      blocks.count == Int(head.blockCount)
    else {
      throw VolumeError(
        .corrupt,
        "stripe \(number): \(head.blockCount) blocks of \(head.sectors) sectors, "
          + "\(head.redundantCount) of them parity")
    }
    hasChecksums = head.checksumType != 0 && ChecksumType(rawValue: head.checksumType).isKnown
    let granule =
      hasChecksums
      ? 1 << Int(min(head.checksumGranularityBits, 16)) : Self.plainGranuleSectors
    granuleSectors = min(granule, Int(head.sectors))
    guard granuleSectors * 512 <= Self.granuleBytesMax / blocks.count else {
      throw VolumeError(
        .limit,
        "stripe \(number): a checksum for each \(granuleSectors) sectors of \(blocks.count) blocks")
    }
  }

  /// How many granules a block has.
  var granuleCount: Int { (Int(head.sectors) + granuleSectors - 1) / granuleSectors }

  /// The sectors of each block that are granule `index`.
  func sectors(ofGranule index: Int) -> Range<Int> {
    let start = index * granuleSectors
    return start..<min(start + granuleSectors, Int(head.sectors))
  }

  /// Whether a granule as read is what was written; without checksums nobody knows, and it is.
  func verifies(_ bytes: RawSpan, block: Int, granule: Int) -> Bool {
    guard hasChecksums else { return true }
    let type = ChecksumType(rawValue: head.checksumType)
    let stored = found.withValue { value in
      (try? Stripe(decoding: value))?.checksum(block: block, index: granule)
    }
    guard let stored, let computed = try? type.checksum(bytes) else { return false }
    return stored.matches(computed)
  }

  /// Where in its block a copy starts, in sectors.
  ///
  /// - Throws: `.corrupt` if the copy is not in this stripe.
  func offset(of pointer: DecodedPtr, sectors: UInt64) throws(VolumeError) -> UInt64 {
    let place = pointer.ptr
    let index = Int(pointer.stripe?.block ?? .max)
    guard index < head.dataCount else {
      throw VolumeError(.corrupt, "stripe \(number) has no data block \(index)")
    }
    let block = blocks[index]
    let isSameDevice =
      place.device == block.device || place.device == Self.noDevice
      || block.device == Self.noDevice
    guard isSameDevice, place.generation == block.generation, place.offset >= block.offset,
      place.offset - block.offset < UInt64(head.sectors),
      sectors <= UInt64(head.sectors) - (place.offset - block.offset)
    else {
      throw VolumeError(
        .corrupt, "\(place) is not in block \(index) of stripe \(number), which is at \(block)")
    }
    return place.offset - block.offset
  }
}
