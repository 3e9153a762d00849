// SPDX-License-Identifier: GPL-2.0
// The value of an extent, taken apart so that its pointers can change, and put together again.
// Source: extents.c (bch2_extent_ptr_decoded_append, bch2_bkey_drop_ptr_noerror).

internal import BcachefsFormat
internal import BcachefsSupport

/// Pointers of one key, each with its checksum and stripe, and what the key's options wish.
struct ExtentParts {
  var pointers: [DecodedPtr] = []
  var rebalance: ExtentRebalance?
  private var flags: ExtentFlags?

  /// - Returns: nil for entries of newer formats, which only their own programs can write again.
  init?(_ entries: ExtentEntries) {
    var walk = entries.entries
    while let entry = walk.next() {
      switch entry {
      case .ptr, .crc, .stripePtr: break
      case .rebalance(let wish): rebalance = wish
      case .flags(let flags): self.flags = flags
      case .reconcile, .reconcileBackpointer, .unknown, .invalid: return nil
      }
    }
    var pointers = entries.pointers
    while let pointer = pointers.next() { self.pointers.append(pointer) }
  }

  /// Writes all parts behind a value's own header.
  ///
  /// - Returns: words of the value, the header's included.
  /// - Throws: `.tooLarge` for a checksum's place that no entry can tell, `.tooSmall` without room.
  func encode(into value: inout MutableRawSpan, at head: Int) throws(FormatError) -> Int {
    var writer = ExtentWriter(at: head)
    // Pointers before the first checksum have none.
    for pointer in pointers where !pointer.crc.needsEntry {
      try writer.append(pointer, to: &value)
    }
    var done: [ExtentCrc] = []
    for pointer in pointers where pointer.crc.needsEntry && !done.contains(pointer.crc) {
      done.append(pointer.crc)
      try writer.append(pointer.crc, to: &value)
      for other in pointers where other.crc == pointer.crc { try writer.append(other, to: &value) }
    }
    if let rebalance { try writer.append(rebalance, to: &value) }
    if let flags { try writer.append(.flags(flags), to: &value) }
    return writer.encodedU64s
  }
}

extension ExtentWriter {
  /// A pointer, with its stripe before it.
  fileprivate mutating func append(
    _ pointer: DecodedPtr, to value: inout MutableRawSpan
  ) throws(FormatError) {
    if let stripe = pointer.stripe { try append(stripe, to: &value) }
    try append(pointer.ptr, to: &value)
  }
}

extension ExtentCrc {
  /// Whether it says anything of its pointers that is not so without it.
  var needsEntry: Bool { self != ExtentCrc(plainSectors: liveSize) }
}

extension DecodedPtr {
  /// Whether this pointer and one of another key lead to the same data, as far as both keys have
  /// it: one of them may have been cut since (`bch2_extent_has_ptr`).
  ///
  /// - Parameters:
  ///   - start: The sector at which this pointer's key starts.
  ///   - otherStart: The same of the other one's.
  func leadsToSame(as other: DecodedPtr, start: UInt64, otherStart: UInt64) -> Bool {
    let (a, b) = (ptr, other.ptr)
    return a.device == b.device && a.generation == b.generation
      && a.isUnwritten == b.isUnwritten
      && a.offset &+ UInt64(crc.offset) &- start == b.offset &+ UInt64(other.crc.offset)
        &- otherStart
      && a.offset < b.offset &+ UInt64(other.crc.compressedSize)
      && b.offset < a.offset &+ UInt64(crc.compressedSize)
  }
}
