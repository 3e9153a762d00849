// SPDX-License-Identifier: GPL-2.0
// A passphrase from a file: bytes that are wiped, never text.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

/// The contents of a small file, wiped when the last user lets go of them.
@safe
public final class SecretFile: Sendable {
  /// More than anybody types: longer files are refused.
  public static let byteCountMax = 64 << 10

  // Safety: written in `init` only, freed in `deinit`.
  private nonisolated(unsafe) let storage: UnsafeMutableRawBufferPointer
  private let byteCount: Int

  /// Reads a file, a pipe or a terminal to its end; newlines at the end do not count.
  ///
  /// - Throws: `.system`; `.invalidSize` for one of more than 64 KiB.
  public init(path: String) throws(DeviceError) {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw DeviceError(.open, .system(errno), device: path) }
    defer { _ = close(descriptor) }
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Self.byteCountMax + 1, alignment: 16)
    do throws(DeviceError) {
      byteCount = unsafe try Self.fill(bytes, from: descriptor, path: path)
    } catch {
      unsafe wipe(bytes)
      unsafe bytes.deallocate()
      throw error
    }
    unsafe storage = bytes
  }

  /// - Returns: How many bytes the passphrase has.
  private static func fill(
    _ bytes: UnsafeMutableRawBufferPointer, from descriptor: Int32, path: String
  ) throws(DeviceError) -> Int {
    var filled = 0
    while filled < bytes.count {
      let count = unsafe Glibc.read(
        descriptor, bytes.baseAddress?.advanced(by: filled), bytes.count - filled)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw DeviceError(.read, .system(errno), device: path) }
      if count == 0 { break }
      filled += count
    }
    guard filled <= byteCountMax else { throw DeviceError(.read, .invalidSize, device: path) }
    while unsafe filled > 0 && bytes[filled - 1] == UInt8(ascii: "\n") { filled -= 1 }
    return filled
  }

  deinit {
    unsafe wipe(storage)
    unsafe storage.deallocate()
  }

  /// The contents.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe RawSpan(
        _unsafeBytes: UnsafeRawBufferPointer(rebasing: storage[..<byteCount]))
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }
}

/// Overwrites secrets in a way that the compiler may not leave out.
func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
  guard let base = bytes.baseAddress else { return }
  unsafe explicit_bzero(base, bytes.count)
}
