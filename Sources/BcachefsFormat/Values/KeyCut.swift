// SPDX-License-Identifier: GPL-2.0
// Cutting sectors off the start or the end of an extent.
// Source: extents.c (bch2_cut_front_s, bch2_cut_back_s).

internal import BcachefsSupport

extension BKey {
  /// Cuts off what stands before a place, in key and value.
  ///
  /// - Parameters:
  ///   - offset: The key's new start, between its start and its end.
  ///   - value: The key's value, and whatever stands behind it; the key says how much of it is
  ///     left.
  /// - Throws: what decoding throws, where the value does not have the parts that its type has.
  public mutating func cutFront(
    to offset: UInt64, _ value: inout MutableRawSpan, sizes: ExtentEntrySizes = .none
  ) throws(FormatError) {
    guard offset > start.offset else { return }
    invariant(offset < position.offset, "something is left of the key")
    let cut = offset &- start.offset
    switch type {
    case .extent, .reflinkV: try moveStart(of: &value, by: cut, sizes)
    case .reflinkP:
      var pointer = try ReflinkP(decoding: value.bytes)
      let (index, overflow) = pointer.index.addingReportingOverflow(cut)
      guard !overflow, index >> 56 == 0 else {
        throw FormatError(.tooLarge, "bch_reflink_p", "idx", found: pointer.index)
      }
      pointer.index = index
      pointer.encode(into: &value)
    case .inlineData, .indirectInlineData:
      let head = type == .inlineData ? 0 : 8
      let data = valueByteCount &- head
      guard data >= 0 else { throw .tooSmall("bch_inline_data", valueByteCount, head) }
      let gone = Int(min(cut << 9, UInt64(data)))
      for byte in head..<head &+ data &- gone {
        let moved = value.bytes[LEField<UInt8>(byte &+ gone)]
        value[LEField<UInt8>(byte)] = moved
      }
      u64s &-= UInt8(truncatingIfNeeded: gone / 8)
    default: break
    }
    size &-= UInt32(truncatingIfNeeded: cut)
  }

  /// Cuts off what stands behind a place.
  ///
  /// - Parameter offset: The key's new end, between its start and its end.
  public mutating func cutBack(to offset: UInt64) {
    guard offset < position.offset else { return }
    invariant(offset > start.offset, "something is left of the key")
    size &-= UInt32(truncatingIfNeeded: position.offset &- offset)
    position.offset = offset
    guard type == .inlineData || type == .indirectInlineData else { return }
    let words = (type == .inlineData ? 0 : 1) &+ UInt64(size) &* 64
    if words < UInt64(valueU64s) { u64s = UInt8(BKey.headerU64s &+ Int(words)) }
  }

  /// Pointers after a checksum keep their place, as all data is read to check it; others move.
  private func moveStart(
    of value: inout MutableRawSpan, by sectors: UInt64, _ sizes: ExtentEntrySizes
  ) throws(FormatError) {
    let count = min(max(valueByteCount, 0), value.byteCount)
    let range = try ExtentEntries.range(of: self, value: value.bytes.extracting(first: count))
    var at = range.lowerBound
    var hasChecksum = false
    while at < range.upperBound {
      let entry: ExtentEntry
      do {
        var entries = ExtentEntries(
          value.bytes.extracting(at..<range.upperBound), keySize: size, sizes: sizes
        ).entries
        guard let next = entries.next() else { return }
        entry = next
      }
      switch entry {
      case .ptr(var pointer) where !hasChecksum:
        let moved = pointer.offset.addingReportingOverflow(sectors)
        guard !moved.overflow, moved.partialValue <= ExtentPtr.maxOffset else {
          throw FormatError(.tooLarge, "bch_extent_ptr", "offset", found: moved.partialValue)
        }
        pointer.offset = moved.partialValue
        value[LEField<UInt64>(at)] = pointer.word
      case .crc(var crc, let kind):
        hasChecksum = true
        let moved = UInt64(crc.offset) &+ sectors
        guard moved < UInt64(crc.uncompressedSize) else {
          throw FormatError(.tooLarge, "bch_extent_crc", "offset", found: moved)
        }
        crc.offset = UInt16(truncatingIfNeeded: moved)
        value[LEField<UInt64>(at)] = crc.words(as: kind).0
      case .invalid: return
      default: break
      }
      at &+= entry.u64s &* 8
    }
  }
}
