// SPDX-License-Identifier: GPL-2.0

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

/// Standard input, in large pieces. It belongs to one thread.
struct ByteInput {
  /// Fills a buffer.
  ///
  /// - Parameter start: Where in the buffer.
  /// - Returns: how many bytes: fewer than there is room for only at the end; 0 behind it.
  func read(into buffer: HeapBuffer, from start: Int = 0) throws(CommandFailure) -> Int {
    var done = start
    while done < buffer.byteCount {
      var all = buffer.mutableBytes
      var rest = all.subrange(done..<buffer.byteCount)
      let count = unsafe rest.withUnsafeMutableBytes {
        unsafe Glibc.read(STDIN_FILENO, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR {
        try ChangeReport.checkInterruption()
        continue
      }
      guard count >= 0 else {
        throw CommandFailure(
          .inputOutput, "cannot read standard input: \(Output.systemText(errno))")
      }
      guard count > 0 else { break }
      done += count
    }
    return done - start
  }
}
