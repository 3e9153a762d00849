// SPDX-License-Identifier: GPL-2.0
// The bytes of a simulated medium: sparse, and copied in an instant.
//
// How it works
//   1. Pages of 4 KiB, made when they are first written; what has no page reads as zeros.
//   2. 256 pages to a chunk, chunks in a dictionary: two levels, so that copying a store costs one
//      dictionary, and the first write to a copy one chunk and one page.
//   3. A value type: copies share pages until one of them writes (isKnownUniquelyReferenced).
// Invariants
//   (1) A page that more than one store can reach is never written.
// Locks: none; a store belongs to one owner at a time.

/// 4 KiB of memory, zeroed, shared by whoever holds a reference.
@safe
final class Page: @unchecked Sendable {
  // Safety: written only through a store that holds the one reference (PageStore, invariant 1).
  static let byteCount = 4096
  private let base: UnsafeMutableRawPointer

  init() {
    unsafe base = UnsafeMutableRawPointer.allocate(byteCount: Self.byteCount, alignment: 16)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
  }

  init(copying other: Page) {
    unsafe base = UnsafeMutableRawPointer.allocate(byteCount: Self.byteCount, alignment: 16)
    unsafe base.copyMemory(from: other.base, byteCount: Self.byteCount)
  }

  deinit { unsafe base.deallocate() }

  @unsafe var bytes: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: base, count: Self.byteCount)
  }
}

struct PageStore: Sendable {
  private static let pagesPerChunk: UInt64 = 256
  private var chunks: [UInt64: [Page?]] = [:]

  /// Copies the bytes at `offset` into `buffer`.
  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
    var done = 0
    while done < buffer.count {
      let (page, skipped, count) = Self.piece(offset, done, buffer.count)
      let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
      if let source = existing(page) {
        unsafe part.copyMemory(
          from: UnsafeRawBufferPointer(rebasing: source.bytes[skipped..<skipped + count]))
      } else {
        unsafe part.initializeMemory(as: UInt8.self, repeating: 0)
      }
      done += count
    }
  }

  /// Copies `buffer` to the bytes at `offset`.
  mutating func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) {
    var done = 0
    while done < buffer.count {
      let (page, skipped, count) = Self.piece(offset, done, buffer.count)
      let part = unsafe UnsafeRawBufferPointer(rebasing: buffer[done..<done + count])
      unsafe withPage(page) { target in
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[skipped..<skipped + count])
          .copyMemory(from: part)
      }
      done += count
    }
  }

  /// Makes a range read as zeros; whole pages and chunks are given back.
  mutating func clear(at offset: UInt64, byteCount: UInt64) {
    let end = offset + byteCount
    let chunkByteCount = Self.pagesPerChunk * UInt64(Page.byteCount)
    // Only chunks that exist have anything to clear: a terabyte's discard costs nothing.
    for index in chunks.keys
    where index < end.dividedUp(by: chunkByteCount)
      && index >= offset / chunkByteCount
    {
      let start = max(offset, index * chunkByteCount)
      let stop = min(end, (index + 1) * chunkByteCount)
      if stop - start == chunkByteCount {
        chunks[index] = nil
      } else {
        clearPages(start, stop)
      }
    }
  }

  private mutating func clearPages(_ start: UInt64, _ stop: UInt64) {
    var position = start
    while position < stop {
      let (page, skipped, count) = Self.piece(position, 0, Int(stop - position))
      if existing(page) != nil {
        if count == Page.byteCount {
          chunks[page / Self.pagesPerChunk]?[Int(page % Self.pagesPerChunk)] = nil
        } else {
          unsafe withPage(page) { target in
            unsafe UnsafeMutableRawBufferPointer(rebasing: target[skipped..<skipped + count])
              .initializeMemory(as: UInt8.self, repeating: 0)
          }
        }
      }
      position += UInt64(count)
    }
  }

  /// Flips one bit of the byte at `offset`.
  mutating func flipBit(_ bit: UInt8, at offset: UInt64) {
    unsafe withPage(offset / UInt64(Page.byteCount)) { target in
      let index = Int(offset % UInt64(Page.byteCount))
      unsafe target[index] ^= 1 << (bit & 7)
    }
  }

  /// Calls `body` with offset and bytes of every page that was ever written, in order.
  func forEachPage<E: Error>(
    _ body: (UInt64, UnsafeRawBufferPointer) throws(E) -> Void
  ) throws(E) {
    for chunk in chunks.keys.sorted() {
      guard let pages = chunks[chunk] else { continue }
      for index in pages.indices {
        guard let page = pages[index] else { continue }
        let number = chunk * Self.pagesPerChunk + UInt64(index)
        unsafe try body(number * UInt64(Page.byteCount), UnsafeRawBufferPointer(page.bytes))
      }
    }
  }

  // MARK: - Pages

  private static func piece(
    _ offset: UInt64, _ done: Int, _ total: Int
  ) -> (page: UInt64, skipped: Int, count: Int) {
    let position = offset + UInt64(done)
    let skipped = Int(position % UInt64(Page.byteCount))
    return (position / UInt64(Page.byteCount), skipped, min(total - done, Page.byteCount - skipped))
  }

  private func existing(_ page: UInt64) -> Page? {
    chunks[page / Self.pagesPerChunk]?[Int(page % Self.pagesPerChunk)]
  }

  private mutating func withPage(
    _ number: UInt64, _ body: (UnsafeMutableRawBufferPointer) -> Void
  ) {
    let fresh = [Page?](repeating: nil, count: Int(Self.pagesPerChunk))
    unsafe Self.mutate(
      &chunks[number / Self.pagesPerChunk, default: fresh][Int(number % Self.pagesPerChunk)], body)
  }

  private static func mutate(
    _ slot: inout Page?, _ body: (UnsafeMutableRawBufferPointer) -> Void
  ) {
    if slot == nil {
      slot = Page()
    } else if !isKnownUniquelyReferenced(&slot), let shared = slot {
      slot = Page(copying: shared)
    }
    if let page = slot { unsafe body(page.bytes) }
  }
}

extension UInt64 {
  fileprivate func dividedUp(by divisor: UInt64) -> UInt64 {
    self / divisor + (self % divisor == 0 ? 0 : 1)
  }
}
