// SPDX-License-Identifier: GPL-2.0
// Making one extent of two that stand next to each other.
//
// How it works
//   Two keys are parts of one if cutting that one where they meet gives both of them again. So
//   what joins is what `cutFront` and `cutBack` could have made; data that was checksummed piece by
//   piece stays in pieces, where the driver may also add checksums up.
// Source: bkey_methods.c (bch2_bkey_merge), extents.c (bch2_extent_merge, bch2_reservation_merge).

internal import BcachefsSupport

extension BKey {
  /// The key that this one and the next are parts of; its value is this one's.
  ///
  /// - Parameters:
  ///   - value: This key's, `valueByteCount` bytes; `rightValue` is that of `right`.
  ///   - isInOneBucket: Whether so many sectors behind a pointer's place are in its bucket.
  /// - Returns: nil where they are not parts of one key, or do not decode.
  public func joined(
    with right: BKey, _ value: RawSpan, _ rightValue: RawSpan, sizes: ExtentEntrySizes = .none,
    isInOneBucket: (ExtentPtr, UInt64) -> Bool
  ) -> BKey? {
    guard type == right.type, Self.joinable.contains(type), u64s == right.u64s,
      version == right.version, position == right.start, size > 0, right.size > 0,
      value.byteCount == valueByteCount, rightValue.byteCount == valueByteCount
    else { return nil }
    let (sum, overflow) = size.addingReportingOverflow(right.size)
    guard !overflow else { return nil }
    var whole = self
    whole.size = sum
    whole.position.offset = right.position.offset
    if type == .extent {
      let entries = ExtentEntries(value, keySize: sum, sizes: sizes)
      guard entries.canHold(UInt64(sum), isInOneBucket) else { return nil }
    }
    return isPart(right, of: whole, value, rightValue, sizes) ? whole : nil
  }

  /// Pointers to indirect extents are counted one by one, and those extents by their own keys.
  private static var joinable: [BKeyType] { [.set, .reservation, .extent] }

  /// Whether cutting the front off a key gives another.
  private func isPart(
    _ right: BKey, of whole: BKey, _ value: RawSpan, _ rightValue: RawSpan,
    _ sizes: ExtentEntrySizes
  ) -> Bool {
    var words = InlineArray<256, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var copy = unsafe span.mutableBytes
    copy.copy(value, to: 0)
    var rest = copy._mutatingExtracting(0..<value.byteCount)
    var cut = whole
    do throws(FormatError) {
      try cut.cutFront(to: right.start.offset, &rest, sizes: sizes)
    } catch {
      return false
    }
    guard cut == right else { return false }
    for word in 0..<value.byteCount / 8 {
      let field = LEField<UInt64>(word &* 8)
      guard rest.bytes[field] == rightValue[field] else { return false }
    }
    return true
  }
}

extension ExtentEntries {
  /// Whether an extent with these entries can have so many sectors.
  fileprivate func canHold(
    _ sectors: UInt64, _ isInOneBucket: (ExtentPtr, UInt64) -> Bool
  ) -> Bool {
    var entries = entries
    var hasChecksum = false
    while let entry = entries.next() {
      switch entry {
      case .ptr(let pointer):
        if !hasChecksum, !isInOneBucket(pointer, sectors) { return false }
      case .crc(let crc, _):
        hasChecksum = true
        if UInt64(crc.offset) &+ sectors > UInt64(crc.uncompressedSize) { return false }
      case .stripePtr, .rebalance, .flags: break
      case .reconcile, .reconcileBackpointer, .unknown, .invalid: return false
      }
    }
    return true
  }
}
