// SPDX-License-Identifier: GPL-2.0

public import BcachefsSupport

extension ExtentCrc {
  /// The nonce that what this entry describes is encrypted and authenticated with (`extent_nonce`).
  ///
  /// - Parameter version: Of the extent's key.
  public func nonce(version: BVersion) -> Nonce {
    let type = isCompressed ? UInt32(compressionType) : 0
    let size = isCompressed ? uncompressedSize : 0
    return Nonce(
      counter: size << 22, UInt32(truncatingIfNeeded: version.lo),
      UInt32(truncatingIfNeeded: version.lo >> 32), version.hi | type << 24
    ).flipping(.extent).adding(bytes: Int(nonce) * 512)
  }
}
