// SPDX-License-Identifier: GPL-2.0
// Windows of a file go to devices.
//
// How it works
//   1. Windows are written one by one, in their order, each with its range to itself: its dirty
//      blocks in runs. What is dirty no more when its turn comes was written by somebody else.
//   2. What cannot be written is lost, and whoever flushes the file next is told, once; the window
//      goes all the same, or memory would fill with what no device takes.
// Invariants
//   (1) A block is clean only when its key is committed.
//   (2) Who flushes is told of everything that was lost since the last one was.
// Locks: see FileContents.swift.
// Source: what Linux does for the driver (filemap_write_and_wait_range, errseq_t).

internal import BcachefsFormat
internal import BcachefsSupport

extension FileContents {
  /// Writes what is dirty; what fails is told to those who flush next.
  func writeBack() {
    do throws(VolumeError) { try writeWindows(0..<Self.maxBytes) } catch {
      // Nobody misses what a file had that is gone.
      guard error.code != .notFound else { return }
      store.noteFailure(error)
      condition.withLock { if failure == nil { failure = error } }
    }
  }

  /// Writes all that had been written to the file, and its size and times. `Engine` makes it
  /// durable.
  ///
  /// - Throws: why something of it is lost.
  func flush() throws(VolumeError) {
    writeBack()
    let lost = condition.withLock {
      defer { failure = nil }
      return failure
    }
    if let lost { throw lost }
  }

  /// Writes the dirty windows that have a part of a range.
  ///
  /// - Throws: the first failure, when all was tried.
  func writeWindows(_ range: Range<UInt64>) throws(VolumeError) {
    var failed: VolumeError?
    for number in numbers(ofWindowsIn: range) {
      let start = number * UInt64(ContentWindow.byteCount)
      do throws(VolumeError) {
        try withRange(start..<start + 1) { () throws(VolumeError) in try writeWindow(number) }
      } catch {
        failed = failed ?? error
      }
    }
    if let failed { throw failed }
  }

  /// The same for a range that is the caller's.
  ///
  /// - Throws: the first failure; what is behind it was not tried.
  func writeWindowsHeld(_ range: Range<UInt64>) throws(VolumeError) {
    for number in numbers(ofWindowsIn: range) { try writeWindow(number) }
  }

  /// The windows that there are in a range, in their order.
  private func numbers(ofWindowsIn range: Range<UInt64>) -> [UInt64] {
    let wanted = Self.windowNumbers(range)
    return condition.withLock { windows.keys.filter { wanted.contains($0) }.sorted() }
  }

  /// Writes a window, and forgets it. Its range is the caller's.
  func writeWindow(_ number: UInt64) throws(VolumeError) {
    guard let window = condition.withLock({ windows[number] }) else { return }
    defer { forget(number, window) }
    guard !window.dirty.isEmpty else { return }
    let options = try dataOptions()
    let start = number * UInt64(ContentWindow.byteCount)
    try store.withWriter { (writer) throws(VolumeError) in
      while let run = window.dirty.run() {
        let bytes = run.lowerBound * blockBytes..<run.upperBound * blockBytes
        let (size, time) = shown
        let buffer = window.buffer
        try writer.write(
          buffer.bytes.extracting(
            bytes.lowerBound - window.start..<bytes.upperBound - window.start),
          atSector: (start + UInt64(bytes.lowerBound)) / 512,
          FileWrite(file: file, options: options, change: InodeChange(size: size, time: time)),
          &window.reservation)
        condition.withLock {
          window.dirty.remove(run)
          if self.time == time { self.time = nil }
        }
      }
    }
  }

  /// Nothing of a window is needed any more.
  private func forget(_ number: UInt64, _ window: ContentWindow) {
    engine.release(&window.reservation)
    let (bytes, isKnown) = condition.withLock {
      let isKnown = windows.removeValue(forKey: number) != nil
      defer { window.countedBytes = 0 }
      return (window.countedBytes, isKnown)
    }
    store.count(file, bytes: -bytes, windows: isKnown ? -1 : 0)
  }

  /// Forgets the blocks of windows that lie in a range of whole blocks: they are overwritten, or
  /// cut off. The range is the caller's.
  func dropWindows(_ range: Range<UInt64>) {
    let wanted = Self.windowNumbers(range)
    let found = condition.withLock { windows.filter { wanted.contains($0.key) } }
    for (number, window) in found {
      let start = number * UInt64(ContentWindow.byteCount)
      let end = start + UInt64(ContentWindow.byteCount)
      let part = range.clamped(to: start..<end)
      let blocks =
        Int(part.lowerBound - start) / blockBytes..<Int(part.upperBound - start) / blockBytes
      condition.withLock {
        window.dirty.remove(blocks)
        window.valid.remove(blocks)
      }
      if window.dirty.isEmpty { forget(number, window) }
    }
  }

  /// Forgets all that is not written: the file is deleted.
  func discard() {
    let numbers = condition.withLock { Array(windows.keys) }
    for number in numbers {
      let start = number * UInt64(ContentWindow.byteCount)
      // Nothing in it throws.
      try? withRange(start..<start + 1) { () throws(VolumeError) in
        if let window = condition.withLock({ windows[number] }) { forget(number, window) }
      }
    }
  }
}
