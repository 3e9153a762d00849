// SPDX-License-Identifier: GPL-2.0
// Raw spans of bytes without `unsafe`: the standard library marks `Span.bytes` unsafe because of
// padding, which bytes do not have. And little-endian numbers in and out of them.

extension Span where Element == UInt8 {
  /// The same bytes, untyped.
  @inlinable public var rawBytes: RawSpan {
    @_lifetime(copy self)
    get { unsafe bytes }
  }
}

extension Array where Element == UInt8 {
  /// The elements, to read.
  @inlinable public var rawBytes: RawSpan {
    @_lifetime(borrow self)
    borrowing get { unsafe span.bytes }
  }

  /// The elements, to write to.
  @inlinable public var mutableRawBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      var elements = mutableSpan
      let buffer = unsafe elements.withUnsafeMutableBufferPointer { unsafe $0 }
      let raw = unsafe MutableRawSpan(_unsafeBytes: UnsafeMutableRawBufferPointer(buffer))
      return unsafe _overrideLifetime(raw, mutating: &self)
    }
  }
}

extension InlineArray where Element == UInt8 {
  /// The elements, to read.
  @inlinable public var rawBytes: RawSpan {
    @_lifetime(borrow self)
    borrowing get { unsafe span.bytes }
  }

  /// The elements, to write to.
  @inlinable public var mutableRawBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      var elements = mutableSpan
      let buffer = unsafe elements.withUnsafeMutableBufferPointer { unsafe $0 }
      let raw = unsafe MutableRawSpan(_unsafeBytes: UnsafeMutableRawBufferPointer(buffer))
      return unsafe _overrideLifetime(raw, mutating: &self)
    }
  }
}

extension RawSpan {
  /// A copy of the bytes.
  @inlinable public var copiedBytes: [UInt8] {
    unsafe withUnsafeBytes { unsafe [UInt8]($0) }
  }

  /// Whether the bytes are these.
  @inlinable public func elementsEqual(_ bytes: [UInt8]) -> Bool {
    guard byteCount == bytes.count else { return false }
    return unsafe withUnsafeBytes { own in
      unsafe bytes.withUnsafeBytes { other in unsafe own.elementsEqual(other) }
    }
  }

  /// A little-endian number at a byte offset.
  ///
  /// - Precondition: It lies within the span.
  @inlinable
  public func loadLittleEndian<Value: FixedWidthInteger & BitwiseCopyable>(
    at byteOffset: Int, as type: Value.Type = Value.self
  ) -> Value {
    unsafe Value(littleEndian: unsafeLoadUnaligned(fromByteOffset: byteOffset, as: Value.self))
  }
}

extension MutableRawSpan {
  /// A part of it, to write to, while the whole is not used.
  ///
  /// - Precondition: `byteOffsets` lies within the span.
  @inlinable
  @_lifetime(&self)
  public mutating func subrange(_ byteOffsets: Range<Int>) -> MutableRawSpan {
    _mutatingExtracting(byteOffsets)
  }
}
