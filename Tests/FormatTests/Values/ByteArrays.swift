// SPDX-License-Identifier: GPL-2.0
// Arrays of bytes as what decoders read and encoders write.

extension [UInt8] {
  /// All bytes.
  var raw: RawSpan {
    @_lifetime(borrow self)
    get { unsafe span.bytes }
  }

  /// Lets `body` write to all bytes.
  mutating func withMutableRaw<R>(_ body: (inout MutableRawSpan) throws -> R) rethrows -> R {
    var elements = mutableSpan
    var bytes = unsafe elements.mutableBytes
    return try body(&bytes)
  }
}
