// SPDX-License-Identifier: GPL-2.0
// Buffers for answers, used again by whatever thread answers next.

internal import BcachefsSupport
internal import Synchronization

/// A stack of buffers: the one used last is still in the processor's caches.
final class BufferPool: Sendable {
  private static let countMax = 16

  private let bufferBytes: Int
  private let buffers = Mutex<[HeapBuffer]>([])

  init(bufferBytes: Int) { self.bufferBytes = bufferBytes }

  /// Calls `body` with a buffer of at least `byteCount` bytes.
  func withBuffer<Value>(_ byteCount: Int, _ body: (HeapBuffer) -> Value) -> Value {
    guard byteCount <= bufferBytes else { return body(HeapBuffer(byteCount: byteCount)) }
    let buffer = buffers.withLock { $0.popLast() } ?? HeapBuffer(byteCount: bufferBytes)
    defer { buffers.withLock { if $0.count < Self.countMax { $0.append(buffer) } } }
    return body(buffer)
  }
}
