// SPDX-License-Identifier: GPL-2.0
// Opening devices: what is asked of the kernel, in which order, and what is refused.
//
// How it works
//   1. stat first: a FIFO or terminal must not be opened to learn that it is no device.
//   2. Read-only is O_RDONLY. Exclusive read-write is O_EXCL for a block device, which the kernel
//      refuses for whatever is mounted or claimed; DeviceLock does the same for a file.
//   3. The opened descriptor must be of the kind that stat saw.
// Invariants
//   (1) A failed open leaves no descriptor, no lock and no change behind.

internal import BcachefsSupport
internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

extension BlockDevice {
  /// Opens an image file or block device.
  ///
  /// - Parameters:
  ///   - path: Of a regular file or a block device; links are followed.
  ///   - mode: Whether anything may be written.
  ///   - direct: Bypass the page cache where the filesystem can (see `usesDirectIO`).
  /// - Throws: `.notADevice`; `.inUse` when somebody else mounted, attached or locked it, named
  ///   where possible; `.system`.
  public static func open(
    path: String, mode: Mode, direct: Bool = false
  ) throws(DeviceError) -> BlockDevice {
    guard let before = SystemText.status(path) else {
      throw DeviceError(.open, .system(errno), device: path)
    }
    let kind = before.st_mode & S_IFMT
    guard kind == S_IFREG || kind == S_IFBLK else {
      throw DeviceError(.open, .notADevice, device: path)
    }
    var flags = O_CLOEXEC | O_NONBLOCK | (mode == .readOnly ? O_RDONLY : O_RDWR)
    if mode == .exclusiveReadWrite && kind == S_IFBLK { flags |= O_EXCL }
    let (descriptor, isDirect) = openDescriptor(path, flags, direct: direct)
    guard descriptor >= 0 else {
      let number = errno
      guard number == EBUSY else { throw DeviceError(.open, .system(number), device: path) }
      throw DeviceError(
        .open, .inUse(DeviceConflict.all(path: path, status: before)), device: path)
    }
    return try BlockDevice(
      adopting: descriptor, name: path, mode: mode, isDirect: isDirect, mustBe: kind)
  }

  /// Makes a new image file that reads as zeros, and opens it for exclusive reading and writing.
  ///
  /// The file stands under its name at once: see `NewImageFile` for one that appears when done.
  ///
  /// - Throws: `.alreadyExists`, `.invalidSize`, `.system`. The file is removed again on failure.
  public static func create(
    path: String, byteCount: UInt64, direct: Bool = false
  ) throws(DeviceError) -> BlockDevice {
    guard byteCount > 0, byteCount <= DeviceGeometry.byteCountMax else {
      throw DeviceError(.create, .invalidSize, device: path, lengthBytes: byteCount)
    }
    let flags = O_CLOEXEC | O_RDWR | O_CREAT | O_EXCL
    let (descriptor, isDirect) = openDescriptor(path, flags, direct: direct)
    guard descriptor >= 0 else {
      let reason: DeviceError.Reason = errno == EEXIST ? .alreadyExists : .system(errno)
      throw DeviceError(.create, reason, device: path)
    }
    do throws(DeviceError) {
      let device = try BlockDevice(
        adopting: descriptor, name: path, mode: .exclusiveReadWrite, isDirect: isDirect,
        mustBe: S_IFREG)
      try device.resize(toByteCount: byteCount)
      return device
    } catch {
      unsafe unlink(path)
      throw error
    }
  }

  /// Takes over an open descriptor: checks what it is, locks it if it may write.
  convenience init(
    adopting descriptor: Int32, name: String, mode: Mode, isDirect: Bool, mustBe kind: mode_t
  ) throws(DeviceError) {
    do throws(DeviceError) {
      var status = stat()
      guard unsafe fstat(descriptor, &status) == 0 else {
        throw DeviceError(.open, .system(errno), device: name)
      }
      guard status.st_mode & S_IFMT == kind else {
        throw DeviceError(.open, .notADevice, device: name)
      }
      if mode == .exclusiveReadWrite {
        try DeviceLock.take(descriptor, status: status, name: name)
      }
      let isBlock = kind == S_IFBLK
      var geometry = DeviceGeometry.file(status)
      if isBlock {
        switch DeviceGeometry.blockDevice(descriptor, status) {
        case .success(let found): geometry = found
        case .failure(let failure):
          throw DeviceError(.open, .system(failure.number), device: name)
        }
      }
      let alignment = isDirect ? Self.directAlignment(descriptor, geometry, isBlock) : (1, 1)
      let file = DescriptorBackEnd(
        descriptor: descriptor, isBlockDevice: isBlock, memoryAlignment: alignment.0,
        offsetAlignment: alignment.1)
      self.init(name: name, mode: mode, geometry: geometry, backEnd: .descriptor(file))
    } catch {
      _ = Glibc.close(descriptor)
      throw error
    }
  }

  /// Opens with O_DIRECT if asked for and possible: filesystems without it answer EINVAL.
  static func openDescriptor(
    _ path: String, _ flags: Int32, direct: Bool
  ) -> (descriptor: Int32, isDirect: Bool) {
    if direct {
      let descriptor = unsafe Glibc.open(path, flags | linux_o_direct, 0o666)
      if descriptor >= 0 || errno != EINVAL { return (descriptor, true) }
      // The refusal comes after a new file was made: that one is ours to open.
      let again = flags & O_CREAT != 0 ? flags & ~O_EXCL : flags
      return (unsafe Glibc.open(path, again, 0o666), false)
    }
    return (unsafe Glibc.open(path, flags, 0o666), false)
  }

  /// Bytes that direct I/O asks of memory and of offsets. Where the kernel does not tell: a page
  /// for a file, a block for a block device.
  private static func directAlignment(
    _ descriptor: Int32, _ geometry: DeviceGeometry, _ isBlock: Bool
  ) -> (Int, Int) {
    var memory: UInt32 = 0
    var offset: UInt32 = 0
    if unsafe linux_direct_alignment(descriptor, &memory, &offset) == 0 {
      return (max(Int(memory), 1), max(Int(offset), 512))
    }
    let unit = isBlock ? geometry.blockSizeBytes : max(geometry.physicalBlockSizeBytes, 4096)
    return (unit, unit)
  }
}
