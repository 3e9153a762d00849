// SPDX-License-Identifier: GPL-2.0
// Writes the superblock of a new volume to its devices.
//
// How it works
//   1. The first copy is the one that is looked for at a fixed place: it is written last, so that a
//      device is either not yet a member or has all its copies.
//   2. The layout stands once more right before the first copy, to find the others if that is gone.
// Invariants
//   (1) Everything before the first superblock is zero, but for the layout: what an earlier
//       filesystem left there would be found first.

public import BcachefsFormat
public import BcachefsIO
internal import BcachefsSupport

extension FormattedVolume {
  /// The superblock as device `index` has it.
  public func superblock(forDevice index: Int) -> Superblock {
    var result = superblock
    result.deviceIndex = UInt8(index)
    result.layout = layouts[index]
    if journals.indices.contains(index), !journals[index].isEmpty {
      let range = JournalBucketRange(
        start: journals[index].lowerBound, count: UInt64(journals[index].count))
      result.setSection(.journalV2(JournalBucketRangesSection(ranges: [range])))
    }
    return result
  }

  /// Writes all copies to all devices, and flushes.
  ///
  /// - Parameter devices: In the order of `layouts`, opened for writing.
  /// - Throws: `.device`, `.format`.
  public func write(to devices: [BlockDevice]) throws(ImageError) {
    invariant(devices.count == layouts.count, "every device has its layout")
    for (index, device) in devices.enumerated() {
      try Self.write(superblock(forDevice: index), to: device)
    }
    for device in devices {
      try usingDevice { () throws(DeviceError) in try device.flush() }
    }
  }

  private static func write(
    _ superblock: Superblock, to device: BlockDevice
  ) throws(ImageError) {
    let blockBytes = device.blockSizeBytes
    for sector in superblock.layout.copySectors.reversed() {
      let bytes = try encoding { () throws(FormatError) in try superblock.encode(sector: sector) }
      let rounded = (bytes.count + blockBytes - 1) / blockBytes * blockBytes
      var buffer = AlignedBuffer(byteCount: rounded)
      var span = buffer.mutableBytes
      span.copy(bytes.rawBytes, to: 0)
      if sector == SuperblockLayout.defaultSuperblockSector {
        try writeHead(superblock.layout, to: device)
      }
      try usingDevice { () throws(DeviceError) in
        try device.write(buffer.bytes, atByte: sector * 512)
      }
    }
  }

  /// Zeroes the start of the device and puts the layout in the sector before the superblock.
  private static func writeHead(
    _ layout: SuperblockLayout, to device: BlockDevice
  ) throws(ImageError) {
    var head = AlignedBuffer(byteCount: Int(SuperblockLayout.defaultSuperblockSector) * 512)
    var span = head.mutableBytes
    span.copy(layout.encode().rawBytes, to: Int(SuperblockLayout.sector) * 512)
    try usingDevice { () throws(DeviceError) in try device.write(head.bytes, atByte: 0) }
  }
}
