// SPDX-License-Identifier: GPL-2.0
// A buffer that belongs to an object: for the stored properties of classes, whose spans the
// compiler cannot follow.

/// A zeroed, aligned block of memory with identity. Whoever owns it sees to it that nobody reads
/// what somebody else writes: the compiler only proves that spans do not outlive the buffer.
@safe
public final class HeapBuffer: @unchecked Sendable {
  // Safety: the memory has one owner at a time, who hands it on with the object that holds it.
  private let memory: AlignedBuffer
  public let byteCount: Int

  /// - Parameters:
  ///   - byteCount: Bytes, at least 0.
  ///   - alignment: A power of two.
  public init(byteCount: Int, alignment: Int = 4096) {
    memory = AlignedBuffer(byteCount: byteCount, alignment: alignment)
    self.byteCount = byteCount
  }

  /// The whole block.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(memory.unsafeBytes))
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The whole block, to write to; the owner holds no other span of what it writes.
  public var mutableBytes: MutableRawSpan {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe MutableRawSpan(_unsafeBytes: memory.unsafeBytes)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }
}
