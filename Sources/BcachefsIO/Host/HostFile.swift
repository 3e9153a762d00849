// SPDX-License-Identifier: GPL-2.0
// The contents of one file of the host: bytes, where there are data, and the proof that nothing
// changed.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// A file opened for reading. Any thread may use it; closed when it is released.
public final class HostFile: Sendable {
  let descriptor: HostDescriptor
  private let tree: HostTree
  private let directory: HostPath
  private let name: [UInt8]

  init(
    directory: HostPath, name: [UInt8], tree: HostTree, descriptor: consuming HostDescriptor
  ) {
    self.directory = directory
    self.name = name
    self.tree = tree
    self.descriptor = descriptor
  }

  /// Its path in the tree, under which it was opened.
  public var path: HostPath { directory.appending(name) }

  /// The state of the open file.
  public func stat() throws(HostError) -> HostStat {
    switch unsafe HostStat.get(descriptor.number, "") {
    case .success(let stat): return stat
    case .failure(let reason): throw error(.examine, reason)
    }
  }

  /// Proves that this is the file which was in the state `earlier`, and was not changed since.
  ///
  /// Done after the last read with the state that the directory listed, it covers the time from
  /// listing to here. The kernel's clock for files moves in steps of some milliseconds: two changes
  /// within one step look like one.
  ///
  /// - Throws: `.changedWhileReading`, `.system`.
  public func verifyUnchanged(since earlier: HostStat) throws(HostError) {
    let changes = try stat().changes(since: earlier)
    if !changes.isEmpty { throw error(.read, .changedWhileReading(changes)) }
  }

  /// Fills `buffer` from the file at `offset`; holes read as zeros.
  ///
  /// - Returns: Bytes read: less than `buffer` holds only where the file ends.
  /// - Throws: `.notARegularFile` (a directory, a FIFO), `.outOfBounds` (no file reaches
  ///   there), `.system`.
  /// - Complexity: one call, and one more to find the file's end if `buffer` reaches beyond it:
  ///   where the size is known, ask for no more.
  public func read(
    into buffer: inout MutableRawSpan, atByte offset: UInt64
  ) throws(HostError) -> Int {
    let result = unsafe buffer.withUnsafeMutableBytes {
      unsafe readFully(descriptor.number, $0, at: offset)
    }
    switch result {
    case .success(let count): return count
    case .failure(let reason): throw error(.read, reason)
    }
  }

  /// Tells the kernel that the whole file is going to be read in order; failure does no harm.
  public func adviseSequential() {
    _ = posix_fadvise(descriptor.number, 0, 0, POSIX_FADV_SEQUENTIAL)
  }

  // MARK: - Holes

  /// The first byte at `offset` or later that holds data; nil if only a hole or the end follows.
  /// Where the filesystem does not know, all bytes are data.
  ///
  /// - Throws: `.system`.
  public func nextData(from offset: UInt64) throws(HostError) -> UInt64? {
    guard let start = Int64(exactly: offset) else { return nil }
    let result = linux_seek_data(descriptor.number, start)
    if result >= 0 { return UInt64(result) }
    if result == -Int64(ENXIO) { return nil }
    return try byteCountWithoutHoles(result) > offset ? offset : nil
  }

  /// The first byte at `offset` or later that lies in a hole, or the file's size where none
  /// follows; nil if `offset` is at the end or beyond.
  ///
  /// - Throws: `.system`.
  public func nextHole(from offset: UInt64) throws(HostError) -> UInt64? {
    guard let start = Int64(exactly: offset) else { return nil }
    let result = linux_seek_hole(descriptor.number, start)
    if result >= 0 { return UInt64(result) }
    if result == -Int64(ENXIO) { return nil }
    let byteCount = try byteCountWithoutHoles(result)
    return byteCount > offset ? byteCount : nil
  }

  /// The first range of data that ends after `offset`, cut to start there at the earliest; nil if
  /// none follows.
  ///
  /// - Throws: `.changedWhileReading(.holes)` if the data go while they are looked for; `.system`.
  public func dataRange(from offset: UInt64) throws(HostError) -> Range<UInt64>? {
    guard let start = try nextData(from: offset) else { return nil }
    guard let end = try nextHole(from: start), end > start else {
      throw error(.findHoles, .changedWhileReading(.holes))
    }
    return start..<end
  }

  /// The file's size, where its filesystem does not know of holes (`result`: minus that errno).
  private func byteCountWithoutHoles(_ result: Int64) throws(HostError) -> UInt64 {
    guard result == -Int64(EINVAL) || result == -Int64(EOPNOTSUPP) else {
      throw error(.findHoles, .init(errno: Int32(-result)))
    }
    return try stat().byteCount
  }

  @inline(never)
  func error(
    _ operation: HostError.Operation, _ reason: HostError.Reason, detail: [UInt8] = []
  ) -> HostError {
    tree.error(operation, reason, path, detail: detail)
  }
}

extension HostDirectory {
  /// Proves that no name came or went since the directory was in the state `earlier`, and that its
  /// own attributes are the same. See `HostFile.verifyUnchanged(since:)`.
  ///
  /// - Throws: `.changedWhileReading`, `.system`.
  public func verifyUnchanged(since earlier: HostStat) throws(HostError) {
    let changes = try stat().changes(since: earlier)
    if !changes.isEmpty { throw tree.error(.list, .changedWhileReading(changes), path) }
  }
}

/// Reads until `buffer` is full or the file ends.
func readFully(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
) -> Result<Int, HostError.Reason> {
  guard let start = Int64(exactly: offset), Int64.max - start >= Int64(buffer.count) else {
    return .failure(.outOfBounds(byteCount: UInt64(Int64.max)))
  }
  var done = 0
  while done < buffer.count {
    let count = unsafe pread(
      descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done,
      off_t(start) + done)
    if count > 0 {
      done += count
    } else if count == 0 {
      break
    } else if errno != EINTR {
      return .failure(.init(errno: errno))
    }
  }
  return .success(done)
}
