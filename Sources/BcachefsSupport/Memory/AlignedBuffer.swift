// SPDX-License-Identifier: GPL-2.0
// Owned memory for disk I/O: aligned as direct I/O wants it, freed when its owner goes.

#if canImport(Glibc)
private import Glibc
#endif

/// A zeroed block of memory whose address is a multiple of `alignment`.
@safe
public struct AlignedBuffer: ~Copyable, @unchecked Sendable {
  // Safety: uniquely owned (`~Copyable`), so whoever can reach the memory owns or borrows it.
  @usableFromInline let base: UnsafeMutableRawPointer
  public let byteCount: Int

  /// - Parameters:
  ///   - byteCount: Bytes, at least 0.
  ///   - alignment: A power of two; 4096 suits every device.
  public init(byteCount: Int, alignment: Int = 4096) {
    invariant(byteCount >= 0, "a buffer has no negative size")
    unsafe base = UnsafeMutableRawPointer.allocate(
      byteCount: max(byteCount, 1), alignment: alignment)
    self.byteCount = byteCount
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }

  deinit { unsafe base.deallocate() }

  /// The whole block.
  @inlinable public var bytes: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe RawSpan(_unsafeStart: base, byteCount: byteCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The whole block, to write to.
  @inlinable public var mutableBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      let span = unsafe MutableRawSpan(_unsafeStart: base, byteCount: byteCount)
      return unsafe _overrideLifetime(span, mutating: &self)
    }
  }

  /// For system calls and C libraries. The pointer must not outlive the buffer.
  @unsafe @inlinable public var unsafeBytes: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: base, count: byteCount)
  }
}
