// SPDX-License-Identifier: GPL-2.0
// Open files, used again by whatever thread reads next.
//
// How it works
//   1. The kernel is told that files need no opening, so nothing is kept for those it has open. A
//      read takes an engine's handle of its file from the pool, or opens one, and gives it back.
//   2. Handles that were used last stay; several of one file serve several threads.
// Invariants
//   (1) A reader has one owner: the pool or the thread that took it.
//   (2) The pool keeps at most `readerLimit` handles.
// Locks: one mutex for a search of that length.

internal import Bcachefs
internal import Synchronization

/// A file that is open for reading.
final class Reader: @unchecked Sendable {
  // Safety: it has one owner at a time, handed on under the pool's mutex.
  let file: FileID
  let handle: FileHandle

  init(_ file: FileID, _ handle: FileHandle) {
    self.file = file
    self.handle = handle
  }
}

final class ReaderPool: Sendable {
  private static let readerLimit = 32

  private struct State {
    /// Used last is last.
    var readers: [Reader] = []
  }

  private let volume: Volume
  private let state = Mutex(State())

  init(_ volume: Volume) { self.volume = volume }

  /// Calls `body` with a handle of a file. When it throws, the handle is not used again.
  func withReader<Value>(
    of file: FileID, _ body: (FileHandle) throws(VolumeError) -> Value
  ) throws(VolumeError) -> Value {
    let kept = state.withLock { state -> Reader? in
      guard let index = state.readers.lastIndex(where: { $0.file == file }) else { return nil }
      return state.readers.remove(at: index)
    }
    let reader: Reader
    if let kept { reader = kept } else { reader = Reader(file, try volume.open(file)) }
    let value = try body(reader.handle)
    let evicted = state.withLock { state -> Reader? in
      state.readers.append(reader)
      return state.readers.count > Self.readerLimit ? state.readers.removeFirst() : nil
    }
    // Freed here, with no lock held.
    _ = evicted
    return value
  }
}
