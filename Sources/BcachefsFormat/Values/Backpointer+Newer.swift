// SPDX-License-Identifier: GPL-2.0
// Backpointers as versions from 1.14 on keep them: at the sector itself, with the bucket's
// generation. They are shown, not written.
// Source: bcachefs-tools fs/alloc/backpointers.c (bch2_backpointer_to_text).

internal import BcachefsSupport

extension Backpointer {
  /// `bucket=0:1392:0 btree=extents level=0 data_type=user suboffset=0 len=8 gen=0 pos=...`
  ///
  /// - Parameters:
  ///   - shift: Bits of the position below the sector (`Superblock.backpointerShift`).
  ///   - device: nil: the sector is shown in the bucket's place.
  static func newerText(
    key: BKey, value: RawSpan, shift: UInt64, device: BKeyContext.Device?
  ) throws(FormatError) -> String {
    guard value.byteCount >= 32 else { throw .tooSmall("bch_backpointer", value.byteCount, 32) }
    let sector = key.position.offset >> shift
    var text = "sector=\(key.position.inode):\(sector)"
    if let device {
      let (bucket, offset) = sector.quotientAndRemainder(
        dividingBy: UInt64(max(device.bucketSizeSectors, 1)))
      text = "bucket=\(key.position.inode):\(bucket):\(offset)"
    }
    let flags = value[LEField<UInt32>(4)]
    text += " btree=\(BTreeID(rawValue: value[LEField<UInt8>(0)]))"
    text += " level=\(value[LEField<UInt8>(1)])"
    text += " data_type=\(DataType(rawValue: value[LEField<UInt8>(2)]))"
    text += " suboffset=\(UInt32(truncatingIfNeeded: key.position.offset & (1 << shift &- 1)))"
    text += " len=\(value[LEField<UInt32>(8)]) gen=\(value[LEField<UInt8>(3)])"
    text += " pos=\(BPos(decoding: value, at: 12))"
    if flags & 3 != 0 { text += " phys" }
    return flags & 8 != 0 ? text + " stripe" : text
  }
}
