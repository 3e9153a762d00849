// SPDX-License-Identifier: GPL-2.0
// From the bytes of a journal entry on a device to its contents: checksum, then decryption.
//
// Source: journal_io.c, `jset_csum_good`, `jset_decrypt`.

internal import BcachefsFormat
internal import BcachefsSupport

/// Checks and decrypts journal entries of one volume.
struct JournalEntryDecoder: Sendable {
  /// What every entry of the volume begins with, behind its checksum.
  let magic: UInt64
  let key: EncryptionKey?

  init(_ media: VolumeMedia) {
    magic = media.superblock.jsetMagic
    key = media.key
  }

  /// Whether the entry's bytes are what was written.
  ///
  /// - Parameter bytes: as they are on the device; the entry at their start is whole.
  /// - Throws: `.locked` for an encrypted entry, without a key.
  func isChecksumGood(_ header: JSetHeader, _ bytes: RawSpan) throws(VolumeError) -> Bool {
    let type = ChecksumType(rawValue: header.checksumType)
    do throws(ChecksumError) {
      let computed = try type.checksum(
        bytes.extracting(header.checksummedRange), key: key, nonce: header.nonce)
      return computed.matches(Checksum128(lo: header.checksumLo, hi: header.checksumHi))
    } catch {
      switch error {
      case .unknownType: return false
      case .noKey: throw VolumeError(.locked, "journal entries are encrypted: \(error)")
      }
    }
  }

  /// A copy of the entry, decrypted where it is encrypted.
  func decrypted(_ header: JSetHeader, _ bytes: RawSpan) -> HeapBuffer {
    let copy = HeapBuffer(byteCount: header.byteCount, alignment: 16)
    var target = copy.mutableBytes
    target.copy(bytes.extracting(0..<header.byteCount), to: 0)
    if let key, ChecksumType(rawValue: header.checksumType).isEncryption {
      var encrypted = target.subrange(header.encryptedRange)
      key.applyChaCha20(to: &encrypted, nonce: header.nonce)
    }
    return copy
  }
}
