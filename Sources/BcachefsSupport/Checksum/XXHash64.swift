// SPDX-License-Identifier: GPL-2.0
// xxHash, 64 bits, by libxxhash: of one span, or of many in a row.

internal import CXXHash

/// The 64-bit xxHash of everything passed to `update`. (C: `xxh64_reset`, `_update`, `_digest`.)
@safe
public struct XXHash64: ~Copyable, @unchecked Sendable {
  // Safety: the state is uniquely owned (`~Copyable`).
  private let state: OpaquePointer

  public init(seed: UInt64 = 0) {
    guard let state = unsafe XXH64_createState() else {
      unreachable("out of memory for a hash state")
    }
    unsafe self.state = state
    _ = unsafe XXH64_reset(state, seed)
  }

  deinit { _ = unsafe XXH64_freeState(state) }

  /// Appends `bytes` to what is hashed.
  public mutating func update(_ bytes: RawSpan) {
    unsafe bytes.withUnsafeBytes { buffer in
      _ = unsafe XXH64_update(state, buffer.baseAddress, buffer.count)
    }
  }

  /// The hash so far; more may follow.
  public var digest: UInt64 { unsafe XXH64_digest(state) }

  /// The hash of `bytes`. Allocates nothing. (C: `xxh64`.)
  public static func hash(_ bytes: RawSpan, seed: UInt64 = 0) -> UInt64 {
    unsafe bytes.withUnsafeBytes { buffer in
      unsafe XXH64(buffer.baseAddress, buffer.count, seed)
    }
  }
}
