// SPDX-License-Identifier: GPL-2.0
// What newer versions keep in an inode behind the fields that 1.13 knows. It is only read: what is
// written stays as it was found.
//
// Invariants
//   (1) Fields that are not there, or do not end within the bytes kept, are 0, as on disk.
// Source: bcachefs-tools fs/fs/inode_format.h (BCH_INODE_FIELDS_v3).

internal import BcachefsSupport

extension Inode {
  /// `bi_depth` (from 1.17 on): steps from the root of its subvolume.
  public var depth: UInt64 { newerField(0) }
  /// `bi_inodes_32bit` plus one, 0 for "not set here" (from 1.30 on).
  public var inodes32Bit: UInt64 { newerField(1) }
  /// `bi_casefold` plus one, 0 for "not set here" (from 1.24 on): names in this directory are the
  /// same in any spelling.
  public var casefold: UInt64 { newerField(2) }

  /// The field `index` places behind the last one of 1.13.
  private func newerField(_ index: Int) -> UInt64 {
    guard index < Int(unknownFields.fieldCount) else { return 0 }
    var copy = InlineArray<64, UInt8>(repeating: 0)
    let count = min(Int(unknownFields.byteCount), copy.count)
    for at in 0..<count { copy[at] = unknownFields.bytes[at] }
    // Zeroes at the end are not kept: the rest of the array stands for them.
    let bytes = copy.rawBytes
    var offset = 0
    for _ in 0..<index {
      guard Varint.decode(bytes, at: &offset) != nil else { return 0 }
    }
    return Varint.decode(bytes, at: &offset) ?? 0
  }
}
