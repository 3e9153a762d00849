// SPDX-License-Identifier: GPL-2.0
// Buffers that are used again instead of being freed: large allocations cost page faults.

internal import Synchronization

/// Aligned buffers by size class (powers of two from 4096 bytes), for any thread.
public final class BufferPool: Sendable {
  /// Free buffers of one class; a box, as arrays hold no `~Copyable` elements.
  private final class Kept: @unchecked Sendable {
    // Safety: uniquely referenced, moved from one owner to the next under the lock.
    var buffer: AlignedBuffer?
    init(_ buffer: consuming AlignedBuffer) { self.buffer = consume buffer }
  }

  private struct State {
    var free = [[Kept]](repeating: [], count: Int.bitWidth)
    var byteCount = 0
  }

  private let state = Mutex(State())
  /// Free bytes that are kept; beyond it buffers are freed.
  public let limitBytes: Int

  /// - Parameter limitBytes: Free bytes to keep at most.
  public init(limitBytes: Int) { self.limitBytes = limitBytes }

  /// Bytes in free buffers now.
  public var freeBytes: Int { state.withLock { $0.byteCount } }

  private static func sizeClass(_ byteCount: Int) -> Int {
    byteCount <= 4096 ? 12 : Int.bitWidth - (byteCount - 1).leadingZeroBitCount
  }

  /// A buffer of at least `byteCount` bytes, aligned to 4096. Its content is anything.
  public func take(byteCount: Int) -> AlignedBuffer {
    invariant(byteCount >= 0 && byteCount <= 1 << 40, "a buffer's size is reasonable")
    let sizeClass = Self.sizeClass(byteCount)
    let kept = state.withLock { state -> Kept? in
      guard let kept = state.free[sizeClass].popLast() else { return nil }
      state.byteCount -= 1 << sizeClass
      return kept
    }
    if let kept, let buffer = kept.buffer.take() { return buffer }
    return AlignedBuffer(byteCount: 1 << sizeClass)
  }

  /// Gives a buffer back; one that `take` did not make is freed.
  public func give(_ buffer: consuming AlignedBuffer) {
    let byteCount = buffer.byteCount
    let sizeClass = Self.sizeClass(byteCount)
    guard byteCount == 1 << sizeClass else { return }
    let kept = Kept(buffer)
    state.withLock { state in
      guard state.byteCount + byteCount <= limitBytes else { return }
      state.byteCount += byteCount
      state.free[sizeClass].append(kept)
    }
  }
}
