// SPDX-License-Identifier: GPL-2.0
// Who else uses a device: one value per user that could be named.

/// Another user of a device or image file.
public enum DeviceConflict: Sendable, Equatable, CustomStringConvertible {
  /// `device` (the device itself, a partition of it, or a loop device on it) is mounted at `path`.
  case mounted(device: String, path: String)
  /// The file is the backing file of a loop device, as in `/dev/loop0`.
  case loopDevice(String)
  /// Swap space.
  case swap(device: String)
  /// Part of a device-mapper or md device, as in `dm-0`.
  case held(by: String)
  /// A lock on the file; process number and name where the kernel tells.
  case locked(processID: Int32?, process: String?)

  public var description: String {
    switch self {
    case .mounted(let device, let path): "\(device) is mounted at \(path)"
    case .loopDevice(let name): "it backs the loop device \(name)"
    case .swap(let device): "\(device) is swap space"
    case .held(let holder): "it is part of \(holder)"
    case .locked(let processID?, let process?): "process \(processID) (\(process)) has locked it"
    case .locked(let processID?, nil): "process \(processID) has locked it"
    case .locked(nil, _): "another process has locked it"
    }
  }
}
