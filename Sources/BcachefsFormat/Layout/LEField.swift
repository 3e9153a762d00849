// SPDX-License-Identifier: GPL-2.0
// How this module looks at bytes: named little-endian integers at fixed offsets of a structure.
//
// A structure's layout is a table of `LEField` and `LEBits` constants; code reads and writes
// `span[Layout.field]`. No Swift struct is ever cast onto bytes.
//
// Invariants
//   (1) Whoever subscripts a span by a field has established that the span covers the field: once,
//       when the view was made or the decoder was entered (asserted in debug builds).
//   (2) Bits outside `lower ..< upper` are untouched by a write through `LEBits`.

/// A little-endian integer at a fixed byte offset of an on-disk structure.
@frozen
public struct LEField<Value: FixedWidthInteger & BitwiseCopyable & Sendable>: Sendable {
  /// Bytes from the start of the structure.
  public let offset: Int

  @inlinable public init(_ offset: Int) { self.offset = offset }

  /// One past the field's last byte.
  @inlinable public var end: Int { offset &+ MemoryLayout<Value>.size }
}

/// Bits `lower ..< upper` of a field (C: `LE16_BITMASK`, `LE32_BITMASK`, `LE64_BITMASK`).
@frozen
public struct LEBits<Storage: FixedWidthInteger & UnsignedInteger & BitwiseCopyable & Sendable>:
  Sendable
{
  public let field: LEField<Storage>
  public let lower: Int
  public let upper: Int

  @inlinable public init(_ field: LEField<Storage>, _ bits: Range<Int>) {
    self.field = field
    lower = bits.lowerBound
    upper = bits.upperBound
  }

  /// The largest value that fits, also the mask before shifting.
  @inlinable public var max: Storage {
    let width = upper &- lower
    return width == Storage.bitWidth ? Storage.max : (1 << Storage(width)) &- 1
  }

  /// The value of these bits in a whole word.
  @inlinable public func get(_ word: Storage) -> Storage { (word >> Storage(lower)) & max }

  /// `word` with these bits replaced. `value` must fit.
  @inlinable public func setting(_ word: Storage, to value: Storage) -> Storage {
    assert(value <= max, "value does not fit its bits")
    return (word & ~(max << Storage(lower))) | ((value & max) << Storage(lower))
  }
}

extension RawSpan {
  /// - Precondition: the span covers `field`.
  @inlinable public subscript<V>(field: LEField<V>) -> V {
    assert(field.end <= byteCount, "field beyond the structure")
    return unsafe V(
      littleEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: field.offset, as: V.self))
  }

  /// - Precondition: the span covers the field of `bits`.
  @inlinable public subscript<S>(bits: LEBits<S>) -> S { bits.get(self[bits.field]) }
}

extension MutableRawSpan {
  /// - Precondition: the span covers `field`.
  @inlinable public subscript<V>(field: LEField<V>) -> V {
    get {
      assert(field.end <= byteCount, "field beyond the structure")
      return unsafe V(
        littleEndian: unsafeLoadUnaligned(fromUncheckedByteOffset: field.offset, as: V.self))
    }
    @_lifetime(self: copy self)
    set { storeBytes(of: newValue.littleEndian, toByteOffset: field.offset, as: V.self) }
  }

  /// - Precondition: the span covers the field of `bits`.
  @inlinable public subscript<S>(bits: LEBits<S>) -> S {
    get { bits.get(self[bits.field]) }
    @_lifetime(self: copy self)
    set { self[bits.field] = bits.setting(self[bits.field], to: newValue) }
  }
}
