// SPDX-License-Identifier: GPL-2.0
// What every reader of extents asks, whether it wants the contents or only to verify them.

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeMedia {
  /// Calls `body` with the entries of a key's value: pointers, and what belongs to them.
  ///
  /// - Throws: `.corrupt` for a value that is smaller than its type's header.
  func withEntries<Result>(
    of found: KeyReference, _ body: (ExtentEntries) -> Result
  ) throws(VolumeError) -> Result {
    try found.decoded { (value) throws(FormatError) in
      body(try ExtentEntries(key: found.key, value: value, sizes: entrySizes))
    }
  }

  /// What is wrong with the stored bytes of an encoded extent; nil if its checksum is right.
  ///
  /// - Parameters:
  ///   - bytes: All that the checksum covers, as stored.
  ///   - version: Of the extent's key.
  func problem(with bytes: RawSpan, _ crc: ExtentCrc, _ version: BVersion) -> String? {
    let type = ChecksumType(rawValue: crc.checksumType)
    do throws(ChecksumError) {
      let computed = try type.checksum(bytes, key: key, nonce: crc.nonce(version: version))
      let stored = crc.checksum.truncated(toByteCount: type.fieldBytes)
      return stored.matches(computed) ? nil : "checksum (\(type)) is wrong"
    } catch {
      return "\(error)"
    }
  }
}
