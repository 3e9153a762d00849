// SPDX-License-Identifier: GPL-2.0
// The word in front of each part of a journal entry, for those who write them in place.

extension JSetEntryView {
  /// The header of a `struct jset_entry` as one little-endian word.
  ///
  /// - Parameter u64s: Words that follow, below 65,536.
  @inlinable public static func headerWord(
    _ type: JSetEntryType, _ btree: BTreeID, level: UInt8, u64s: Int
  ) -> UInt64 {
    assert(u64s >= 0 && u64s <= Int(UInt16.max))
    let number = UInt64(UInt16(truncatingIfNeeded: u64s))
    return
      (number | UInt64(btree.rawValue) << 16 | UInt64(level) << 24
      | UInt64(type.rawValue) << 32).littleEndian
  }
}
