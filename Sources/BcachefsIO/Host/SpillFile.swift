// SPDX-License-Identifier: GPL-2.0
// Room on a disk for what does not fit in memory, gone with the process.

internal import CLinuxShims
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// A nameless temporary file: bytes are appended, and read back from anywhere.
///
/// Any thread may append and read; nothing is left behind, however the process ends.
public final class SpillFile: Sendable {
  private let descriptor: HostDescriptor
  private let directory: [UInt8]
  private let end = Atomic<UInt64>(0)

  /// - Parameter directory: Where to; if nothing can be created there, or it is nil, `$TMPDIR`,
  ///   /var/tmp and /tmp are tried in this order.
  /// - Throws: `.system`, `.vanished`, `.notADirectory`: what the first of them answered.
  public init(near directory: String? = nil) throws(HostError) {
    let temporary = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) }
    var firstError: HostError?
    for candidate in [directory, temporary, "/var/tmp", "/tmp"] {
      guard let candidate, !candidate.isEmpty else { continue }
      let bytes = Array(candidate.utf8)
      let number = unsafe linux_open_unnamed(candidate)
      if number >= 0 {
        self.descriptor = HostDescriptor(number: number)
        self.directory = bytes
        return
      }
      if firstError == nil {
        firstError = HostError(.createSpill, .init(errno: -number), pathBytes: bytes)
      }
    }
    throw firstError ?? HostError(.createSpill, .vanished, pathBytes: Array("/tmp".utf8))
  }

  /// Bytes appended so far, those included that other threads are just appending.
  public var byteCount: UInt64 { end.load(ordering: .acquiring) }

  /// Appends `bytes`.
  ///
  /// - Returns: The offset at which they stand.
  /// - Throws: `.system` (ENOSPC, EIO): their range in the file is then undefined.
  @discardableResult
  public func append(_ bytes: RawSpan) throws(HostError) -> UInt64 {
    let count = UInt64(bytes.byteCount)
    let start = end.add(count, ordering: .acquiringAndReleasing).oldValue
    let reason = unsafe bytes.withUnsafeBytes { unsafe write($0, at: start) }
    if let reason { throw HostError(.appendToSpill, reason, pathBytes: directory) }
    return start
  }

  /// Fills `buffer` with what was appended at `offset`.
  ///
  /// - Throws: `.outOfBounds` if less was appended; `.system`.
  public func read(
    into buffer: inout MutableRawSpan, atByte offset: UInt64
  ) throws(HostError) {
    let byteCount = self.byteCount
    let (last, overflow) = offset.addingReportingOverflow(UInt64(buffer.byteCount))
    guard !overflow, last <= byteCount else {
      throw HostError(
        .readFromSpill, .outOfBounds(byteCount: byteCount), pathBytes: directory)
    }
    let result = unsafe buffer.withUnsafeMutableBytes {
      unsafe readFully(descriptor.number, $0, at: offset)
    }
    switch result {
    case .success(buffer.byteCount): return
    case .success:
      throw HostError(.readFromSpill, .changedWhileReading(.size), pathBytes: directory)
    case .failure(let reason):
      throw HostError(.readFromSpill, reason, pathBytes: directory)
    }
  }

  private func write(_ buffer: UnsafeRawBufferPointer, at start: UInt64) -> HostError.Reason? {
    guard let start = Int64(exactly: start), Int64.max - start >= Int64(buffer.count) else {
      return .system(EFBIG)
    }
    var done = 0
    while done < buffer.count {
      let count = unsafe pwrite(
        descriptor.number, buffer.baseAddress?.advanced(by: done), buffer.count - done,
        off_t(start) + done)
      if count > 0 {
        done += count
      } else if count == 0 {
        return .system(EIO)
      } else if errno != EINTR {
        return .system(errno)
      }
    }
    return nil
  }
}
