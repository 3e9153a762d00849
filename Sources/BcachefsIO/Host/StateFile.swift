// SPDX-License-Identifier: GPL-2.0
// A small file that is replaced as a whole: readers see the old contents or the new ones.
//
// How it works
//   What is new is written to a file beside it and flushed, which then takes its name; then the
//   directory is flushed.

#if canImport(Glibc)
internal import Glibc
#endif

/// What a program keeps between two runs.
public struct StateFile: Sendable {
  /// Larger files are refused.
  private static let byteCountMax = 256 << 20

  public let path: String

  public init(path: String) { self.path = path }

  /// The contents; nil if there is no such file.
  ///
  /// - Throws: `.system`; `.notADevice` if it is no regular file; `.invalidSize` for more than
  ///   256 MiB.
  public func read() throws(DeviceError) -> [UInt8]? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw DeviceError(.open, .system(errno), device: path)
    }
    defer { _ = close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw DeviceError(.open, .system(errno), device: path)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw DeviceError(.open, .notADevice, device: path)
    }
    guard status.st_size <= Self.byteCountMax else {
      throw DeviceError(.read, .invalidSize, device: path)
    }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var done = 0
    while done < bytes.count {
      let total = bytes.count
      let count = unsafe bytes.withUnsafeMutableBytes { buffer in
        unsafe Glibc.read(descriptor, buffer.baseAddress?.advanced(by: done), total - done)
      }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw DeviceError(.read, .system(errno), device: path) }
      guard count > 0 else { break }
      done += count
    }
    return Array(bytes[..<done])
  }

  /// Replaces the contents, durably.
  ///
  /// - Throws: `.system`; then the old contents are there still, or, where only the directory could
  ///   not be flushed, the new ones.
  public func write(_ bytes: [UInt8]) throws(DeviceError) {
    let temporary = "\(path).new"
    let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw DeviceError(.create, .system(errno), device: temporary) }
    let failure = Self.fill(descriptor, bytes)
    let closing = Glibc.close(descriptor) == 0 ? nil : errno
    if let number = failure ?? closing {
      _ = unsafe unlink(temporary)
      throw DeviceError(.write, .system(number), device: path)
    }
    guard unsafe rename(temporary, path) == 0 else {
      let number = errno
      _ = unsafe unlink(temporary)
      throw DeviceError(.publish, .system(number), device: path)
    }
    let flushed = NewImageFile.flushDirectory(of: path)
    guard flushed == 0 else { throw DeviceError(.publish, .system(flushed), device: path) }
  }

  /// Writes and flushes; the errno of a failure.
  private static func fill(_ descriptor: Int32, _ bytes: [UInt8]) -> Int32? {
    var done = 0
    while done < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.write(
          descriptor, buffer.baseAddress?.advanced(by: done), bytes.count - done)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return count < 0 ? errno : EIO }
      done += count
    }
    return fsync(descriptor) == 0 ? nil : errno
  }
}
