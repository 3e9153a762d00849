// SPDX-License-Identifier: GPL-2.0
// Chunks of data: what is sealed can be opened again, also after a cut; and the spool of their
// backpointers.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

struct DataPieceTests {
  private static let key: EncryptionKey = {
    let bytes = [UInt8](0..<32)
    return EncryptionKey(copying: bytes.rawBytes)
  }()

  private func parameters(_ type: ChecksumType) -> DataParameters {
    DataParameters(
      blockBytes: 512, encodedExtentMaxBytes: 64 << 10, checksumType: type, compression: nil,
      compressionLevel: 0, key: type.isEncryption ? Self.key : nil, inlineDataMaxBytes: 0)
  }

  /// `extent_nonce` of data that is not compressed.
  private func nonce(_ chunk: EncodedChunk) -> Nonce {
    Nonce(
      counter: 0, UInt32(truncatingIfNeeded: chunk.version.lo),
      UInt32(truncatingIfNeeded: chunk.version.lo >> 32), chunk.version.hi
    ).flipping(.extent).adding(bytes: Int(chunk.crc.nonce) * 512)
  }

  /// Verifies and decrypts a piece as a reader of the volume does.
  private func open(
    _ chunk: EncodedChunk, _ type: ChecksumType, _ stored: [UInt8]
  ) throws -> [UInt8] {
    #expect(stored.count == Int(chunk.storedSectors) * 512)
    let key = type.isEncryption ? Self.key : nil
    let checksum = try type.checksum(stored.rawBytes, key: key, nonce: nonce(chunk))
    #expect(checksum == chunk.crc.checksum)
    guard let key else { return stored }
    return decrypted(stored, key, nonce(chunk))
  }

  private func decrypted(_ stored: [UInt8], _ key: EncryptionKey, _ nonce: Nonce) -> [UInt8] {
    var bytes = stored
    var span = bytes.mutableRawBytes
    key.applyChaCha20(to: &span, nonce: nonce)
    return bytes
  }

  private func sealed(
    _ plain: [UInt8], _ parameters: DataParameters
  ) throws -> (EncodedChunk, [UInt8]) {
    var stored = plain
    var span = stored.mutableRawBytes
    let chunk = try parameters.seal(
      &span, fileSector: 100, sectors: UInt32(plain.count / 512), compressionType: .none,
      version: BVersion(lo: 0x1234_5678_9abc), bufferOffset: 4096)
    return (chunk, stored)
  }

  @Test(arguments: [
    ChecksumType.crc32c, .crc64, .xxhash, .chacha20Poly1305, .chacha20Poly1305Short,
  ])
  func bothHalvesOfACutOpenOnTheirOwn(type: ChecksumType) throws {
    let parameters = parameters(type)
    var random = SplitMix64(seed: 11)
    let plain = (0..<16 * 512).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    let (chunk, stored) = try sealed(plain, parameters)
    #expect(try open(chunk, type, stored) == plain)
    #expect((stored != plain) == type.isEncryption)

    let (first, second) = try parameters.split(chunk, at: 6, stored: stored.rawBytes)
    #expect(first.fileSector == 100 && first.sectors == 6 && first.bufferOffset == 4096)
    #expect(second.fileSector == 106 && second.sectors == 10)
    #expect(second.bufferOffset == 4096 + 6 * 512)
    #expect(try open(first, type, Array(stored[..<(6 * 512)])) == Array(plain[..<(6 * 512)]))
    #expect(try open(second, type, Array(stored[(6 * 512)...])) == Array(plain[(6 * 512)...]))

    // A second cut, of the piece behind the first.
    let rest = Array(stored[(6 * 512)...])
    let (third, fourth) = try parameters.split(second, at: 3, stored: rest.rawBytes)
    #expect(try open(third, type, Array(rest[..<(3 * 512)])) == Array(plain[(6 * 512)..<(9 * 512)]))
    #expect(try open(fourth, type, Array(rest[(3 * 512)...])) == Array(plain[(9 * 512)...]))
    #expect(fourth.fileSector == 109 && fourth.sectors == 7)
  }

  @Test(arguments: [0, 1, 65_535, 65_536, 65_537, 200_000])
  func spoolGivesBackWhatItTookAsOftenAsAsked(count: Int) throws {
    let spool = BackpointerSpool(temporaryDirectory: nil)
    for index in 0..<UInt64(count) {
      try spool.append(
        DataBackpointer(
          sector: index * 8, sectors: UInt32(index % 100), inode: index ^ 0xdead_beef_cafe,
          endSector: index << 33))
    }
    #expect(spool.count == count)
    for _ in 0..<2 {
      var reader = spool.makeReader()
      var next: UInt64 = 0
      while let record = try reader.peek() {
        let isRight =
          record.sector == next * 8 && record.sectors == UInt32(next % 100)
          && record.inode == next ^ 0xdead_beef_cafe && record.endSector == next << 33
        if !isRight { Issue.record("record \(next) is \(record)") }
        reader.advance()
        next += 1
      }
      #expect(next == UInt64(count))
    }
  }
}
