// SPDX-License-Identifier: GPL-2.0
// Windows of a file go to devices.
//
// How it works
//   1. Windows are written in their order, some together, each with its range to itself: their
//      dirty blocks in runs. What is dirty no more when its turn comes was written by somebody
//      else.
//   2. The first window of some is waited for; a further one that somebody else has is left for
//      later. So nobody waits for a range while he has another.
//   3. Where some windows cannot be written together they are tried one by one.
//   4. What cannot be written is lost, and whoever flushes the file next is told, once; the window
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
      // Noted by who lost it.
    }
  }

  private func noteLost(_ error: VolumeError) {
    // Nobody misses what a file had that is gone.
    guard error.code != .notFound else { return }
    store.noteFailure(file, error)
  }

  /// Writes all that had been written to the file, and its size and times. `Engine` makes it
  /// durable.
  ///
  /// - Throws: why something of it is lost.
  func flush() throws(VolumeError) {
    writeBack()
    if let lost = store.takeFailure(of: file) { throw lost }
  }

  /// Writes the dirty windows that have a part of a range.
  ///
  /// - Throws: the first failure, when all was tried; who flushes next is told, too.
  func writeWindows(_ range: Range<UInt64>) throws(VolumeError) {
    var failed: VolumeError?
    var rest = numbers(ofWindowsIn: range)[...]
    while !rest.isEmpty {
      let some = takeFirst(of: rest)
      defer { giveBack(some) }
      do throws(VolumeError) { try write(some) } catch { failed = failed ?? error }
      rest = rest.dropFirst(some.count)
    }
    if let failed { throw failed }
  }

  /// The same for a range that is the caller's. What fails is told to those who flush next, too:
  /// whoever called may try something else, and succeed.
  ///
  /// - Throws: the first failure; what is behind it was not tried.
  func writeWindowsHeld(_ range: Range<UInt64>) throws(VolumeError) {
    var rest = numbers(ofWindowsIn: range)[...]
    while !rest.isEmpty {
      let some = condition.withLock { first(of: rest) { _ in true } }
      try write(some)
      rest = rest.dropFirst(some.count)
    }
  }

  /// The windows that there are in a range, in their order.
  private func numbers(ofWindowsIn range: Range<UInt64>) -> [UInt64] {
    let wanted = Self.windowNumbers(range)
    return condition.withLock { windows.keys.filter { wanted.contains($0) }.sorted() }
  }

  // MARK: - Some windows

  /// The first windows of some that can be written together; their ranges are the caller's then.
  private func takeFirst(of numbers: ArraySlice<UInt64>) -> ArraySlice<UInt64> {
    condition.withLock {
      while true {
        let some = first(of: numbers) { locks.take($0..<$0 + 1) }
        if !some.isEmpty { return some }
        condition.wait()
      }
    }
  }

  private func giveBack(_ numbers: ArraySlice<UInt64>) {
    condition.withLock { for number in numbers { locks.giveBack(number..<number + 1) } }
    condition.broadcast()
  }

  /// The first windows of some, up to one that is not to be had, or for which there is no room.
  /// Under `condition`.
  private func first(
    of numbers: ArraySlice<UInt64>, where take: (UInt64) -> Bool
  ) -> ArraySlice<UInt64> {
    var bytes = 0
    var count = 0
    for number in numbers {
      bytes += (windows[number]?.dirty.count ?? 0) * blockBytes
      guard count == 0 || bytes <= FileWriter.gatheredMax, take(number) else { break }
      count += 1
    }
    return numbers.prefix(count)
  }

  /// Writes windows, and forgets them. Their ranges are the caller's.
  private func write(_ numbers: ArraySlice<UInt64>) throws(VolumeError) {
    let found = condition.withLock {
      numbers.compactMap { number in windows[number].map { (number, $0) } }
    }
    var reservation = DiskReservation()
    for (_, window) in found {
      engine.add(window.reservation, to: &reservation)
      window.reservation = DiskReservation()
    }
    defer {
      engine.release(&reservation)
      store.noteCommit()
      for (number, window) in found { forget(number, window) }
    }
    do throws(VolumeError) { try write(found[...], &reservation) } catch {
      var isLost = found.count == 1
      for index in found.indices where found.count > 1 {
        do throws(VolumeError) { try write(found[index...index], &reservation) } catch {
          isLost = true
        }
      }
      guard isLost else { return }
      // Before the windows are forgotten: who flushes and finds none of them has to hear of it. The
      // reason of the first failure, of which others may only be what follows.
      noteLost(error)
      throw error
    }
  }

  private func write(
    _ some: ArraySlice<(UInt64, ContentWindow)>, _ reservation: inout DiskReservation
  ) throws(VolumeError) {
    guard some.contains(where: { !$0.1.dirty.isEmpty }) else { return }
    let options = try dataOptions()
    try writingTime { (size, time) throws(VolumeError) in
      try store.withWriter { (writer) throws(VolumeError) in
        writer.beginGathering()
        for (number, window) in some { gather(window, number, writer) }
        try writer.writeGathered(
          FileWrite(file: file, options: options, change: InodeChange(size: size, time: time)),
          &reservation)
      }
    }
    condition.withLock {
      for (_, window) in some { window.dirty = BlockSet() }
    }
  }

  private func gather(_ window: ContentWindow, _ number: UInt64, _ writer: FileWriter) {
    let start = number * UInt64(ContentWindow.byteCount)
    let buffer = window.buffer
    var next = 0
    while let run = window.dirty.run(from: next) {
      let bytes = run.lowerBound * blockBytes..<run.upperBound * blockBytes
      writer.gather(
        buffer.bytes.extracting(
          bytes.lowerBound - window.start..<bytes.upperBound - window.start),
        atSector: (start + UInt64(bytes.lowerBound)) / 512)
      next = run.upperBound
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
    withoutOthers {
      for (number, window) in condition.withLock({ windows }) { forget(number, window) }
    }
  }
}
