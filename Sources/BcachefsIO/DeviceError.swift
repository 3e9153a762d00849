// SPDX-License-Identifier: GPL-2.0
// What went wrong with a device: small enough to throw, and full text when it is printed.

#if canImport(Glibc)
internal import Glibc
#endif

/// An operation on a device failed, or was refused before anything was done.
public struct DeviceError: Error, Sendable, Equatable {
  /// What was being done.
  public enum Operation: String, Sendable {
    case open
    case create
    case lock
    case read
    case write
    case flush
    case discard
    case punchHole = "punch a hole in"
    case resize
    case close
    case probe
    case list = "list the block devices in"
    case publish
    case addKey = "add a key to"
  }

  /// Why it failed.
  public enum Reason: Sendable, Equatable {
    /// The kernel's answer, an errno.
    case system(Int32)
    /// The range does not lie within the device's `deviceBytes`.
    case outOfBounds(deviceBytes: UInt64)
    /// Offset and length must be multiples of `bytes`.
    case misaligned(bytes: Int)
    /// A change was asked of a device that was opened read-only.
    case readOnly
    /// The device was closed before.
    case closed
    /// Others use it, as far as they can be named.
    case inUse([DeviceConflict])
    /// Neither a regular file nor a block device.
    case notADevice
    /// A file of the final name is there, and replacing it was not asked for.
    case alreadyExists
    /// The file ended within its own size: somebody truncated it.
    case unexpectedEnd
    /// An earlier flush failed, with this errno: what was written before it may be lost.
    case earlierFlushFailed(Int32)
    /// This kind of device or filesystem cannot do it.
    case unsupported
    /// The size is zero, or beyond what a file offset can express.
    case invalidSize
  }

  public let operation: Operation
  public let reason: Reason
  /// The path, or the simulated device's name.
  public let device: String
  /// First byte of the range concerned, where there is one.
  public let offsetBytes: UInt64?
  /// Length of that range in bytes.
  public let lengthBytes: UInt64?

  @inline(never)
  public init(
    _ operation: Operation, _ reason: Reason, device: String, offsetBytes: UInt64? = nil,
    lengthBytes: UInt64? = nil
  ) {
    self.operation = operation
    self.reason = reason
    self.device = device
    self.offsetBytes = offsetBytes
    self.lengthBytes = lengthBytes
  }

  /// The errno that says the same, for callers that speak POSIX.
  public var errorNumber: Int32 {
    switch reason {
    case .system(let number), .earlierFlushFailed(let number): number
    case .outOfBounds, .unexpectedEnd: EIO
    case .misaligned, .invalidSize: EINVAL
    case .readOnly: EROFS
    case .closed: EBADF
    case .inUse: EBUSY
    case .notADevice: ENOTBLK
    case .alreadyExists: EEXIST
    case .unsupported: EOPNOTSUPP
    }
  }
}

// MARK: - Text

extension DeviceError: CustomStringConvertible {
  /// One line: what could not be done, where, why, and what to do next.
  public var description: String {
    var place = ""
    if let offsetBytes {
      place = " at byte \(offsetBytes)"
      if let lengthBytes { place += ", \(lengthBytes) bytes" }
    }
    let advice = self.advice.map { "; \($0)" } ?? ""
    return "cannot \(operation.rawValue) \(device)\(place): \(cause)\(advice)"
  }

  private var cause: String {
    switch reason {
    case .system(let number): systemErrorText(number)
    case .outOfBounds(let deviceBytes): "beyond the end, the device has \(deviceBytes) bytes"
    case .misaligned(let bytes): "offset and length must be multiples of \(bytes) bytes"
    case .readOnly: "it was opened read-only"
    case .closed: "it was closed"
    case .inUse(let conflicts): Self.text(of: conflicts)
    case .notADevice: "neither a regular file nor a block device"
    case .alreadyExists: "it exists"
    case .unexpectedEnd: "the file ended early, somebody truncated it"
    case .earlierFlushFailed(let number):
      "an earlier flush failed (\(systemErrorText(number))), data written before it may be lost"
    case .unsupported: "not supported by this device or filesystem"
    case .invalidSize: "impossible size"
    }
  }

  private var advice: String? {
    switch reason {
    case .system(ENOENT): "check the path"
    case .system(EACCES), .system(EPERM): "check its permissions, or run as root"
    case .system(ENOSPC): "free some space, or choose another place"
    case .system(EROFS): "open it read-only"
    case .system(EIO): "the medium or its connection fails, see the kernel's messages"
    case .system(ENODEV), .system(ENXIO): "the device is gone, see the kernel's messages"
    case .inUse: "unmount, detach or stop that first, or open it read-only"
    case .notADevice: "name an image file or a block device"
    case .alreadyExists: "choose another name, or ask for it to be replaced"
    case .earlierFlushFailed: "close the device, open it again and check the volume"
    case .unexpectedEnd: "restore the file's size"
    default: nil
    }
  }

  private static func text(of conflicts: [DeviceConflict]) -> String {
    guard !conflicts.isEmpty else { return "it is in use" }
    return conflicts.map(\.description).joined(separator: ", ")
  }
}

/// The C library's text for an errno.
func systemErrorText(_ number: Int32) -> String {
  unsafe String(cString: strerror(number))
}
