// SPDX-License-Identifier: GPL-2.0
// Sizes and abilities of a device, as the kernel tells them when it is opened.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

struct DeviceGeometry: Sendable {
  var byteCount: UInt64
  var blockSizeBytes: Int
  var physicalBlockSizeBytes: Int
  var isRotational: Bool
  var supportsDiscard: Bool

  /// No file offset is larger (off_t).
  static let byteCountMax = UInt64(Int64.max)

  /// A regular file: any byte can be written, a sector is the unit that this program counts in.
  static func file(_ status: stat) -> DeviceGeometry {
    DeviceGeometry(
      byteCount: UInt64(max(status.st_size, 0)), blockSizeBytes: 512,
      physicalBlockSizeBytes: max(Int(status.st_blksize), 512), isRotational: false,
      supportsDiscard: true)
  }

  /// An open block device, or the errno that its ioctls gave.
  static func blockDevice(_ descriptor: Int32, _ status: stat) -> Result<Self, SystemError> {
    var kernel = linux_block_geometry()
    let number = unsafe linux_block_geometry_get(descriptor, &kernel)
    guard number == 0 else { return .failure(SystemError(number: number)) }
    let logical = max(Int(kernel.logical_block_bytes), 512)
    return .success(
      DeviceGeometry(
        byteCount: min(kernel.byte_count, byteCountMax), blockSizeBytes: logical,
        physicalBlockSizeBytes: max(Int(kernel.physical_block_bytes), logical),
        isRotational: kernel.is_rotational != 0, supportsDiscard: canDiscard(status.st_rdev)))
  }

  /// A partition has no queue of its own: its disk, the folder above, has.
  private static func canDiscard(_ device: dev_t) -> Bool {
    let folder = "/sys/dev/block/\(SystemText.numbers(device))"
    let limit =
      SystemText.line("\(folder)/queue/discard_max_bytes")
      ?? SystemText.line("\(folder)/../queue/discard_max_bytes")
    return (limit.flatMap { UInt64($0) } ?? 0) > 0
  }
}

/// A bare errno, where no device is known.
struct SystemError: Error, Equatable {
  let number: Int32
}
