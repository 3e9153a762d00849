// SPDX-License-Identifier: GPL-2.0
// A directory of a mounted filesystem, for ioctls on it.
//
// Source: bcachefs_ioctl.h.

internal import BcachefsSupport
internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// An open directory of a mount; closed with its owner.
public struct MountedDirectory: ~Copyable {
  /// Whose mount it is.
  public enum Kind: Sendable {
    /// The kernel's bcachefs driver's.
    case driver
    /// That of a program that serves FUSE.
    case fuse
    case other
  }

  private let descriptor: Int32
  private let path: String
  /// Whose mount it is.
  public let kind: Kind
  /// The number of the device that it is on (`st_dev`).
  public let deviceNumber: UInt64

  private static var driverType: UInt64 { 0xca45_1a4e }
  private static var fuseType: UInt64 { 0x6573_5546 }

  /// Opens a directory.
  ///
  /// - Throws: why it cannot be opened.
  public init(_ path: String) throws(HostError) {
    let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw HostError(.open, HostError.Reason(errno: errno), pathBytes: Array(path.utf8))
    }
    var type: UInt64 = 0
    let result = unsafe linux_filesystem_type(descriptor, &type)
    var state = stat()
    _ = unsafe fstat(descriptor, &state)
    deviceNumber = UInt64(state.st_dev)
    self.descriptor = descriptor
    self.path = path
    kind =
      result != 0
      ? .other : type == Self.driverType ? .driver : type == Self.fuseType ? .fuse : .other
  }

  deinit { _ = close(descriptor) }

  private func check(_ number: Int32) throws(HostError) {
    guard number == 0 else {
      throw HostError(.control, .system(number), pathBytes: Array(path.utf8))
    }
  }

  /// Has the filesystem write what the kernel has in memory of it.
  public func synchronise() { linux_sync_filesystem(descriptor) }

  /// Sends an ioctl whose argument is bytes.
  ///
  /// - Returns: the argument as it is then.
  /// - Throws: what the mount answers, an errno; ENOTTY where it does not know the number.
  public func control(_ number: UInt32, _ argument: [UInt8]) throws(HostError) -> [UInt8] {
    var argument = argument
    let result = unsafe argument.withUnsafeMutableBytes { bytes in
      unsafe linux_ioctl(descriptor, number, bytes.baseAddress)
    }
    try check(result)
    return argument
  }

  /// Has the kernel's driver make a subvolume, or a snapshot.
  ///
  /// - Parameters:
  ///   - path: Of the new one.
  ///   - source: A subvolume's root; nil for the subvolume that the new one's directory is in.
  /// - Throws: what the driver answers, an errno.
  public func makeDriverSubvolume(
    _ path: String, isSnapshot: Bool, of source: String?, isReadOnly: Bool
  ) throws(HostError) {
    let flags: UInt32 = (isSnapshot ? 1 : 0) | (isReadOnly ? 2 : 0)
    let result: Int32
    if let source {
      result = unsafe linux_bcachefs_subvolume(descriptor, 0, flags, 0o777, path, source)
    } else {
      result = unsafe linux_bcachefs_subvolume(descriptor, 0, flags, 0o777, path, nil)
    }
    try check(result)
  }

  /// Has the kernel's driver delete a subvolume.
  ///
  /// - Throws: what the driver answers, an errno.
  public func deleteDriverSubvolume(_ path: String) throws(HostError) {
    try check(unsafe linux_bcachefs_subvolume(descriptor, 1, 0, 0, path, nil))
  }
}
