// SPDX-License-Identifier: GPL-2.0
// Bytes of a file that one key has: of an extent, inline data, or nothing.

internal import BcachefsFormat
internal import BcachefsSupport

extension ExtentReader {
  /// Fills `target` with bytes that a key has, `offset` from its start.
  ///
  /// - Parameter found: Of any type but reflink_p.
  /// - Throws: as `read`; `.allCopiesBad` for a key of type error, `.unsupported` for one that no
  ///   file has.
  func readContents(
    of found: KeyReference, from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    switch found.key.type {
    case .extent, .reflinkV: try readExtent(found, from: offset, into: &target)
    case .inlineData, .indirectInlineData: try readInline(found, from: offset, into: &target)
    case .reservation: target.zero(0..<target.byteCount)
    case .error:
      throw VolumeError(.allCopiesBad, "extent \(found.key.position): its data was lost before")
    default:
      throw VolumeError(.unsupported, "extent \(found.key.position): type \(found.key.type)")
    }
  }

  private func readExtent(
    _ found: KeyReference, from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    let head = Int(offset % 512)
    let sector = UInt32(truncatingIfNeeded: offset / 512)
    guard head != 0 || target.byteCount % 512 != 0 else {
      return try read(found, fromSector: sector, into: &target)
    }
    let rounded = (head + target.byteCount + 511) / 512 * 512
    if scratch.byteCount < rounded { scratch = HeapBuffer(byteCount: rounded) }
    let buffer = scratch
    var all = buffer.mutableBytes
    var sectors = all._mutatingExtracting(0..<rounded)
    try read(found, fromSector: sector, into: &sectors)
    target.copy(sectors.bytes.extracting(head..<head + target.byteCount), to: 0)
  }

  private func readInline(
    _ found: KeyReference, from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) {
    let count = target.byteCount
    let copied = try found.decoded { (value) throws(FormatError) in
      let data = try InlineData(key: found.key, value: value).data
      let start = min(Int(clamping: offset), data.byteCount)
      let copied = min(count, data.byteCount - start)
      target.copy(data.extracting(start..<start + copied), to: 0)
      return copied
    }
    target.zero(copied..<count)
  }
}

extension BKey {
  /// The bytes of a file that a key of its extents covers.
  ///
  /// - Throws: `.corrupt` for a key that starts before the file or ends where no file can.
  func coveredBytes() throws(VolumeError) -> Range<UInt64> {
    let end = position.offset
    guard UInt64(size) <= end, end <= UInt64(Int64.max) / 512 else {
      throw VolumeError(.corrupt, "extent \(position) of \(size) sectors: no such place")
    }
    return (end - UInt64(size)) * 512..<end * 512
  }
}
