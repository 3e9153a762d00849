// SPDX-License-Identifier: GPL-2.0
// Device I/O by arrays, for tests.

import BcachefsIO
import Testing

extension BlockDevice {
  func bytes(_ count: Int, at offset: UInt64) throws(DeviceError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: count)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    try read(into: &raw, atByte: offset)
    return bytes
  }

  func put(_ bytes: [UInt8], at offset: UInt64) throws(DeviceError) {
    unsafe try write(bytes.span.bytes, atByte: offset)
  }
}

extension WriteVector {
  @_lifetime(self: copy self, copy span)
  mutating func append(_ span: Span<UInt8>) { unsafe append(span.bytes) }
}

/// The reason with which `body` failed; nil, and an issue, if it did not.
func failure(_ body: () throws(DeviceError) -> Void) -> DeviceError.Reason? {
  do throws(DeviceError) {
    try body()
    return nil
  } catch {
    return error.reason
  }
}

/// `count` bytes that differ from their neighbours and from other seeds'.
func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31) ^ ($0 >> 8) ^ (seed &* 97)) }
}
