// SPDX-License-Identifier: GPL-2.0
// ChaCha20 and Poly1305 under one key, by libsodium, with the kernel's 16-byte nonce.
//
// How it works
//   1. The kernel gives its "chacha20" cipher 16 bytes that fill the last four words of ChaCha's
//      state. The first is the block counter; so this is RFC 8439 with a starting counter.
//   2. The counter is 32 bits and wraps without a carry. libsodium refuses to wrap (it aborts the
//      process), so a run that would is cut in two at the wrap.
//   3. An authentication code is Poly1305 over the stored bytes, under a one-time key: the first
//      32 bytes of key stream of the data's nonce with the `poly` bit flipped.
//
// Invariants
//   (1) The key's memory is never copied into a Swift value, and is wiped before it is freed.
//
// Locks: none. A key is immutable and may be used by every thread at once.
// Source: checksum.c (do_encrypt, gen_poly_key); RFC 8439.

internal import CSodium

/// libsodium picks its fastest implementations once; safe to ask for from any thread.
enum Sodium {
  static let isReady: Bool = sodium_init() >= 0

  static func require() {
    invariant(isReady, "libsodium cannot be initialised")
  }
}

/// A 256-bit key (`struct bch_key`); wiped when the last user lets go of it.
@safe
public final class EncryptionKey: Sendable {
  public static let byteCount = 32

  // Safety: written in `init` only.
  private nonisolated(unsafe) let storage: UnsafeMutablePointer<UInt8>

  /// A copy of 32 bytes.
  ///
  /// - Precondition: `bytes` holds exactly 32 bytes.
  public init(copying bytes: RawSpan) {
    invariant(bytes.byteCount == Self.byteCount, "a key has 32 bytes")
    Sodium.require()
    unsafe storage = UnsafeMutablePointer<UInt8>.allocate(capacity: Self.byteCount)
    for index in 0..<Self.byteCount {
      unsafe storage[index] = bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
    }
  }

  /// Calls `fill` to write the 32 bytes, which are zero before.
  init<Failure: Error>(
    filledBy fill: (UnsafeMutablePointer<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    Sodium.require()
    unsafe storage = UnsafeMutablePointer<UInt8>.allocate(capacity: Self.byteCount)
    unsafe storage.initialize(repeating: 0, count: Self.byteCount)
    try unsafe fill(storage)
  }

  /// A new random key.
  public convenience init(using random: inout RandomSource) {
    unsafe self.init { storage in
      for word in 0..<Self.byteCount / 8 {
        let value = random.next().littleEndian
        unsafe UnsafeMutableRawPointer(storage).storeBytes(
          of: value, toByteOffset: 8 * word, as: UInt64.self)
      }
    }
  }

  deinit {
    unsafe sodium_memzero(storage, Self.byteCount)
    unsafe storage.deallocate()
  }

  /// Whether both keys are the same, in constant time.
  public func isEqual(to other: EncryptionKey) -> Bool {
    unsafe sodium_memcmp(storage, other.storage, Self.byteCount) == 0
  }

  /// Writes the 32 bytes at `byteOffset`.
  ///
  /// - Precondition: They fit.
  public func copyBytes(into destination: inout MutableRawSpan, at byteOffset: Int = 0) {
    for index in 0..<Self.byteCount {
      unsafe destination.storeBytes(
        of: storage[index], toByteOffset: byteOffset + index, as: UInt8.self)
    }
  }

  /// Encrypts or decrypts in place: ChaCha20 is its own inverse. (C: `bch2_encrypt`.)
  ///
  /// - Parameters:
  ///   - bytes: Any length. To go on behind them, they must be a multiple of 64 bytes and the
  ///     next nonce is `nonce.adding(bytes:)`.
  ///   - nonce: Of the first byte.
  public func applyChaCha20(to bytes: inout MutableRawSpan, nonce: Nonce) {
    unsafe bytes.withUnsafeMutableBytes { buffer in
      unsafe applyChaCha20(to: buffer, nonce: nonce)
    }
  }

  func applyChaCha20(to buffer: UnsafeMutableRawBufferPointer, nonce: Nonce) {
    guard let base = buffer.baseAddress else { return }
    var offset = 0
    var counter = nonce.counter
    while offset < buffer.count {
      let untilWrap = (1 << 32 - Int(counter)) << 6
      let count = min(buffer.count - offset, untilWrap)
      let start = unsafe (base + offset).assumingMemoryBound(to: UInt8.self)
      unsafe withIETFNonce(nonce) { ietf in
        _ = unsafe crypto_stream_chacha20_ietf_xor_ic(
          start, start, UInt64(count), ietf, counter, storage)
      }
      offset += count
      counter = 0
    }
  }

  /// The 12 bytes of RFC 8439's nonce.
  private func withIETFNonce(_ nonce: Nonce, _ body: (UnsafePointer<UInt8>) -> Void) {
    let words: InlineArray<3, UInt32> = [
      nonce.word1.littleEndian, nonce.word2.littleEndian, nonce.word3.littleEndian,
    ]
    unsafe words.span.bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return }
      unsafe body(base.assumingMemoryBound(to: UInt8.self))
    }
  }
}

/// The authentication code of everything passed to `update`.
@safe
public struct Poly1305: ~Copyable, Sendable {
  private var state = crypto_onetimeauth_poly1305_state()

  /// Under the one-time key of data with this nonce. (C: `gen_poly_key`.)
  public init(key: EncryptionKey, nonce: Nonce) {
    var oneTimeKey = InlineArray<32, UInt8>(repeating: 0)
    var keyBytes = oneTimeKey.mutableRawBytes
    key.applyChaCha20(to: &keyBytes, nonce: nonce.flipping(.poly))
    self.init(oneTimeKey: keyBytes.bytes)
    unsafe keyBytes.withUnsafeMutableBytes { buffer in
      unsafe sodium_memzero(buffer.baseAddress, buffer.count)
    }
  }

  /// - Precondition: `oneTimeKey` holds 32 bytes.
  public init(oneTimeKey: RawSpan) {
    invariant(oneTimeKey.byteCount == EncryptionKey.byteCount, "a one-time key has 32 bytes")
    Sodium.require()
    unsafe oneTimeKey.withUnsafeBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      _ = unsafe crypto_onetimeauth_poly1305_init(
        &state, base.assumingMemoryBound(to: UInt8.self))
    }
  }

  /// Appends `bytes`.
  public mutating func update(_ bytes: RawSpan) {
    unsafe bytes.withUnsafeBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      _ = unsafe crypto_onetimeauth_poly1305_update(
        &state, base.assumingMemoryBound(to: UInt8.self), UInt64(buffer.count))
    }
  }

  /// All 128 bits, in the order of the disk.
  public mutating func finish() -> Checksum128 {
    var code = InlineArray<16, UInt8>(repeating: 0)
    var codeSpan = code.mutableSpan
    unsafe codeSpan.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      _ = unsafe crypto_onetimeauth_poly1305_final(&state, base)
    }
    return Checksum128(
      lo: code.rawBytes.loadLittleEndian(at: 0), hi: code.rawBytes.loadLittleEndian(at: 8))
  }
}
