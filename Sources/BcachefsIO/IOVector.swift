// SPDX-License-Identifier: GPL-2.0
// Lists of spans for one vectored transfer. A list lives no longer than the memory it names.

/// Pieces of memory to be written one after the other by one call.
@safe
public struct WriteVector: ~Escapable {
  // Safety: the lifetime annotations tie this value to every span appended to it.
  private(set) var parts: [UnsafeRawBufferPointer]
  /// The sum of all pieces.
  public private(set) var byteCount: Int

  /// An empty list.
  @_lifetime(immortal)
  public init() {
    unsafe parts = []
    byteCount = 0
  }

  /// Adds `span` behind what is there.
  @_lifetime(self: copy self, copy span)
  public mutating func append(_ span: RawSpan) {
    unsafe parts.append(span.withUnsafeBytes { unsafe $0 })
    byteCount += span.byteCount
  }
}

/// Pieces of memory to be filled one after the other by one call. Each is borrowed exclusively.
@safe
public struct ReadVector: ~Escapable, ~Copyable {
  // Safety: the lifetime annotations tie this value to every span appended to it.
  private(set) var parts: [UnsafeMutableRawBufferPointer]
  /// The sum of all pieces.
  public private(set) var byteCount: Int

  /// An empty list.
  @_lifetime(immortal)
  public init() {
    unsafe parts = []
    byteCount = 0
  }

  /// Adds `span` behind what is there.
  @_lifetime(self: copy self, copy span)
  public mutating func append(_ span: consuming MutableRawSpan) {
    byteCount += span.byteCount
    unsafe parts.append(span.withUnsafeMutableBytes { unsafe $0 })
  }
}
