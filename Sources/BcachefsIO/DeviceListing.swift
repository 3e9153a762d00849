// SPDX-License-Identifier: GPL-2.0
// The machine's block devices, for lookups by UUID or label: names only, nothing is opened.

#if canImport(Glibc)
internal import Glibc
#endif

/// A block device of the machine, as /sys/class/block shows it.
public struct DeviceListing: Sendable, Equatable {
  /// Below /dev, as in `/dev/sda1`.
  public let path: String
  /// Size in bytes.
  public let byteCount: UInt64
  public let isPartition: Bool
  public let isReadOnly: Bool

  /// Every block device that has a size, sorted by path.
  ///
  /// - Throws: `.system` when sysfs cannot be read.
  public static func all() throws(DeviceError) -> [DeviceListing] {
    let folder = "/sys/class/block"
    guard let names = SystemText.names(in: folder) else {
      throw DeviceError(.list, .system(errno), device: folder)
    }
    var devices: [DeviceListing] = []
    for name in names {
      let entry = "\(folder)/\(name)"
      // sysfs counts sectors of 512 bytes, whatever the device's block size.
      guard let sectors = SystemText.line("\(entry)/size").flatMap({ UInt64($0) }), sectors > 0,
        sectors <= UInt64.max / 512, let path = path(ofFolder: entry)
      else { continue }
      devices.append(
        DeviceListing(
          path: path, byteCount: sectors * 512,
          isPartition: SystemText.line("\(entry)/partition") != nil,
          isReadOnly: SystemText.line("\(entry)/ro") == "1"))
    }
    return devices.sorted { $0.path < $1.path }
  }

  /// The node below /dev for a device's folder in sysfs, from `DEVNAME=` in its `uevent`.
  static func path(ofFolder folder: String) -> String? {
    for line in (SystemText.read("\(folder)/uevent") ?? "").split(separator: "\n")
    where line.hasPrefix("DEVNAME=") {
      return "/dev/\(line.dropFirst("DEVNAME=".count))"
    }
    return nil
  }
}
