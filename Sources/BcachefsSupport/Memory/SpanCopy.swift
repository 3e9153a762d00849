// SPDX-License-Identifier: GPL-2.0
// Moving bytes between spans at memory speed.

extension MutableRawSpan {
  /// Copies `source` to `byteOffset`.
  ///
  /// - Precondition: it fits there (checked in every build).
  @inlinable
  @_lifetime(self: copy self)
  public mutating func copy(_ source: RawSpan, to byteOffset: Int) {
    invariant(
      byteOffset >= 0 && source.byteCount <= byteCount &- byteOffset, "a copy fits its target")
    unsafe withUnsafeMutableBytes { target in
      unsafe source.withUnsafeBytes { bytes in
        guard let from = bytes.baseAddress, let to = target.baseAddress else { return }
        unsafe (to + byteOffset).copyMemory(from: from, byteCount: bytes.count)
      }
    }
  }

  /// Zeroes the bytes of `range`.
  ///
  /// - Precondition: it lies within the span (checked in every build).
  @inlinable
  @_lifetime(self: copy self)
  public mutating func zero(_ range: Range<Int>) {
    invariant(
      range.lowerBound >= 0 && range.upperBound <= byteCount, "what is zeroed is the span's")
    unsafe withUnsafeMutableBytes { target in
      guard let to = target.baseAddress else { return }
      _ = unsafe (to + range.lowerBound).initializeMemory(
        as: UInt8.self, repeating: 0, count: range.count)
    }
  }
}
