// SPDX-License-Identifier: GPL-2.0
// Where a stripe's blocks are, and how it is counted.
// Source: replicas.c (stripe_to_replicas), ec.h (__bch2_ptr_matches_stripe).

internal import BcachefsFormat
internal import BcachefsSupport

struct StripeBlocks: Equatable {
  /// Of each block.
  let sectors: UInt16
  let redundantCount: Int
  let places: [ExtentPtr]

  static let none = StripeBlocks(sectors: 0, redundantCount: 0, places: [])

  private init(sectors: UInt16, redundantCount: Int, places: [ExtentPtr]) {
    self.sectors = sectors
    self.redundantCount = redundantCount
    self.places = places
  }

  /// - Throws: what decoding throws; `.truncated` where not all blocks have a place.
  init(decoding value: RawSpan) throws(FormatError) {
    let stripe = try Stripe(decoding: value)
    var places: [ExtentPtr] = []
    for block in 0..<Int(stripe.head.blockCount) {
      guard let place = stripe.pointer(block: block) else {
        throw FormatError(
          .truncated, "bch_stripe", "ptrs", found: UInt64(value.byteCount),
          expected: UInt64(stripe.head.encodedU64s * 8))
      }
      places.append(place)
    }
    self.init(
      sectors: stripe.head.sectors, redundantCount: Int(stripe.head.redundantCount),
      places: places)
  }

  var dataCount: Int { max(0, places.count - redundantCount) }

  /// What data or parity in this stripe is counted as.
  func replicas(_ type: DataType) -> AccountingKey {
    .replicas(
      AccountingReplicas(
        dataType: type.rawValue, required: UInt8(truncatingIfNeeded: dataCount),
        devices: places.map(\.device)))
  }

  /// Whether a pointer to data leads into a block.
  func holds(_ place: ExtentPtr, block: Int) -> Bool {
    guard block < dataCount else { return false }
    let own = places[block]
    return
      (own.device == place.device || own.device == Member.invalidDevice
      || place.device == Member.invalidDevice)
      && own.generation == place.generation
      && own.offset..<own.offset + UInt64(sectors) ~= place.offset
  }
}
