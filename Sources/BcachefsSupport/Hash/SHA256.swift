// SPDX-License-Identifier: GPL-2.0
// SHA-256, by libsodium: it makes the key of the older name hash.

internal import CSodium

public enum SHA256 {
  /// The 32 bytes of the digest.
  public static func digest(_ bytes: RawSpan) -> InlineArray<32, UInt8> {
    Sodium.require()
    var digest = InlineArray<32, UInt8>(repeating: 0)
    var output = digest.mutableRawBytes
    unsafe bytes.withUnsafeBytes { input in
      unsafe output.withUnsafeMutableBytes { output in
        guard let to = unsafe output.bindMemory(to: UInt8.self).baseAddress else { return }
        // Where nothing is to be read, any address will do.
        let from = unsafe input.bindMemory(to: UInt8.self).baseAddress ?? UnsafePointer(to)
        _ = unsafe crypto_hash_sha256(to, from, UInt64(input.count))
      }
    }
    return digest
  }

  /// The first 16 bytes of the digest of a 64-bit number (its 8 little-endian bytes), as two
  /// little-endian numbers: the key of `siphash_old`. (C: `bch2_hash_info_init`.)
  public static func sipHashKey(seed: UInt64) -> (k0: UInt64, k1: UInt64) {
    let bytes = InlineArray<8, UInt8> { UInt8(truncatingIfNeeded: seed >> UInt64(8 * $0)) }
    let digest = digest(bytes.rawBytes)
    return (digest.rawBytes.loadLittleEndian(at: 0), digest.rawBytes.loadLittleEndian(at: 8))
  }
}
