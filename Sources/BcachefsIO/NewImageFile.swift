// SPDX-License-Identifier: GPL-2.0
// An image file that appears under its name whole, or not at all.
//
// How it works
//   1. The file is made without a name (O_TMPFILE) in the final name's directory. Where the
//      filesystem has no such files, it gets a hidden temporary name, which a signal handler
//      removes.
//   2. It is written through `device`, as any other.
//   3. publish() flushes the file, gives it its name, and flushes the directory. Without
//      `replacing` the name is given by a call that fails if it exists (link, renameat2); with it,
//      the file is linked under a hidden name and renamed over the old one.
// Invariants
//   (1) Before publish() has returned or failed with `.publish`'s last step, the final name is as
//       it was: not there, or the old file.
//   (2) Whatever way the process ends, no temporary name stays, but for a kill (SIGKILL) or power
//       loss where the filesystem lacks O_TMPFILE.
// Locks: one owner (`~Copyable`); the device may be used from any thread.

internal import BcachefsSupport
internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// A new image file that has no name yet. Dropped without `publish()`, it vanishes.
public struct NewImageFile: ~Copyable {
  /// How its space is laid out.
  public enum Allocation: Sendable, Equatable {
    /// Holes until written.
    case sparse
    /// Every block reserved now, so that a full disk is an error now. `.unsupported` where the
    /// filesystem cannot.
    case preallocated
  }

  /// The unfinished file, open for exclusive reading and writing; it may be resized. Stays open and
  /// locked after `publish()`.
  public let device: BlockDevice
  /// The name it will have.
  public let path: String
  private let replacing: Bool
  /// The hidden name that it has meanwhile; nil where it has none.
  public let temporaryPath: String?
  private let descriptor: Int32

  /// - Parameters:
  ///   - path: The final name. A symbolic link is followed, if it leads to a file.
  ///   - byteCount: Size in bytes; reads as zeros.
  ///   - replacing: Whether a file of that name may be replaced by `publish()`.
  /// - Throws: `.alreadyExists`, `.notADevice` (the name belongs to something else than a file),
  ///   `.invalidSize`, `.unsupported`, `.system`. Nothing is left behind.
  public init(
    path: String, byteCount: UInt64, allocation: Allocation = .sparse, replacing: Bool = false,
    direct: Bool = false
  ) throws(DeviceError) {
    try self.init(
      path: path, byteCount: byteCount, allocation: allocation, replacing: replacing,
      direct: direct, hidden: false)
  }

  /// `hidden` asks for the hidden name even where unnamed files exist.
  package init(
    path: String, byteCount: UInt64, allocation: Allocation, replacing: Bool, direct: Bool,
    hidden: Bool
  ) throws(DeviceError) {
    let path = try Self.finalPath(path, replacing: replacing)
    guard byteCount > 0, byteCount <= DeviceGeometry.byteCountMax else {
      throw DeviceError(.create, .invalidSize, device: path, lengthBytes: byteCount)
    }
    let (descriptor, isDirect, temporaryPath) = try Self.makeFile(
      path, direct: direct, hidden: hidden)
    do throws(DeviceError) {
      let device = try BlockDevice(
        adopting: descriptor, name: path, mode: .exclusiveReadWrite, isDirect: isDirect,
        mustBe: S_IFREG)
      try device.resize(toByteCount: byteCount)
      if allocation == .preallocated {
        let number = linux_preallocate(descriptor, 0, byteCount)
        let reason: DeviceError.Reason = number == EOPNOTSUPP ? .unsupported : .system(number)
        if number != 0 { throw DeviceError(.create, reason, device: path) }
      }
      self.device = device
      self.path = path
      self.replacing = replacing
      self.temporaryPath = temporaryPath
      self.descriptor = descriptor
    } catch {
      if let temporaryPath { Self.remove(temporaryPath) }
      throw error
    }
  }

  // After publish() nothing has the temporary name any more.
  deinit { if let temporaryPath { Self.remove(temporaryPath) } }

  /// Makes the file durable under its final name, and hands over the device, still open.
  ///
  /// - Throws: `.alreadyExists` (somebody else made a file of that name meanwhile), what `flush`
  ///   throws, `.system`. The final name is as before, unless only the directory's own flush
  ///   failed.
  public consuming func publish() throws(DeviceError) -> BlockDevice {
    try device.flush()
    let number: Int32
    if let temporaryPath {
      number = Self.rename(temporaryPath, to: path, replacing: replacing)
    } else if replacing {
      number = Self.linkAndRename(descriptor, to: path)
    } else {
      number = unsafe linux_link_descriptor(descriptor, path)
    }
    guard number == 0 else {
      let reason: DeviceError.Reason = number == EEXIST ? .alreadyExists : .system(number)
      throw DeviceError(.publish, reason, device: path)
    }
    let flushed = Self.flushDirectory(of: path)
    guard flushed == 0 else { throw DeviceError(.publish, .system(flushed), device: path) }
    return device
  }

  // MARK: - Names

  private static func finalPath(_ path: String, replacing: Bool) throws(DeviceError) -> String {
    guard let status = SystemText.status(path) else {
      guard errno == ENOENT else { throw DeviceError(.create, .system(errno), device: path) }
      return path
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw DeviceError(.create, .notADevice, device: path)
    }
    guard replacing else { throw DeviceError(.create, .alreadyExists, device: path) }
    guard let real = unsafe realpath(path, nil) else { return path }
    defer { unsafe free(real) }
    return unsafe String(cString: real)
  }

  /// The directory that holds the last component of `path`.
  private static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// A hidden name beside the final one that no other process uses.
  private static func hiddenPath(_ path: String) -> String {
    var generator = SystemRandomNumberGenerator()
    let mark = String(generator.next(), radix: 36)
    return "\(directory(of: path))/.bcachefs-\(getpid())-\(mark).tmp"
  }

  // MARK: - Files

  private static func makeFile(
    _ path: String, direct: Bool, hidden: Bool
  ) throws(DeviceError) -> (descriptor: Int32, isDirect: Bool, temporaryPath: String?) {
    let flags = O_RDWR | O_CLOEXEC
    if !hidden {
      let (descriptor, isDirect) = BlockDevice.openDescriptor(
        directory(of: path), flags | linux_o_tmpfile, direct: direct)
      if descriptor >= 0 { return (descriptor, isDirect, nil) }
      // EISDIR: a kernel, EOPNOTSUPP: a filesystem without unnamed files.
      guard errno == EISDIR || errno == EOPNOTSUPP else {
        throw DeviceError(.create, .system(errno), device: path)
      }
    }
    let temporaryPath = hiddenPath(path)
    let number = unsafe linux_temporary_add(temporaryPath)
    guard number == 0 else { throw DeviceError(.create, .system(number), device: path) }
    let (descriptor, isDirect) = BlockDevice.openDescriptor(
      temporaryPath, flags | O_CREAT | O_EXCL, direct: direct)
    guard descriptor >= 0 else {
      let number = errno
      unsafe linux_temporary_forget(temporaryPath)
      throw DeviceError(.create, .system(number), device: path)
    }
    return (descriptor, isDirect, temporaryPath)
  }

  private static func rename(_ from: String, to path: String, replacing: Bool) -> Int32 {
    if replacing { return unsafe Glibc.rename(from, path) == 0 ? 0 : errno }
    let number = unsafe linux_rename_noreplace(from, path)
    guard number == EINVAL || number == ENOSYS else { return number }
    // A filesystem without RENAME_NOREPLACE: a link fails if the name exists, too.
    guard unsafe link(from, path) == 0 else { return errno }
    unsafe unlink(from)
    return 0
  }

  /// An unnamed file cannot be linked over an existing name: it gets a hidden one for an instant.
  private static func linkAndRename(_ descriptor: Int32, to path: String) -> Int32 {
    let hidden = hiddenPath(path)
    let added = unsafe linux_temporary_add(hidden)
    guard added == 0 else { return added }
    var number = unsafe linux_link_descriptor(descriptor, hidden)
    if number == 0 { number = rename(hidden, to: path, replacing: true) }
    if number == 0 {
      unsafe linux_temporary_forget(hidden)
    } else {
      remove(hidden)
    }
    return number
  }

  private static func remove(_ temporaryPath: String) {
    unsafe unlink(temporaryPath)
    unsafe linux_temporary_forget(temporaryPath)
  }

  /// Makes names in a file's directory durable; the errno of a failure, else 0.
  static func flushDirectory(of path: String) -> Int32 {
    let descriptor = unsafe open(directory(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return errno }
    defer { _ = close(descriptor) }
    // Some filesystems cannot flush directories, and say so by EINVAL: there is nothing more to do.
    return fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno
  }
}
