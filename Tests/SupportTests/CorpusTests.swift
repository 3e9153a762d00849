// SPDX-License-Identifier: GPL-2.0
// Superblocks that the driver wrote carry the checksums computed here.

import BcachefsSupport
import Glibc
import TestSupport
import Testing

struct CorpusTests {
  /// Up to 64 KiB from byte 4096 on, where the first superblock is.
  func superblock(of path: String) -> [UInt8] {
    let file = unsafe open(path, O_RDONLY)
    guard file >= 0 else { return [] }
    defer { _ = close(file) }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = unsafe pread(file, &bytes, bytes.count, 4096)
    return Array(bytes[..<max(0, count)])
  }

  @Test(arguments: SampleVolume.fixtures + SampleVolume.corpus)
  func superblocksCarryTheirChecksums(volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      for path in try volume.unpack(into: folder) { try check(superblock(of: path), path) }
    }
  }

  private func check(_ bytes: [UInt8], _ path: String) throws {
    let span = bytes.rawBytes
    try #require(bytes.count > 752, "\(path) has no superblock")
    let end = 752 + 8 * Int(span.loadLittleEndian(at: 124, as: UInt32.self))
    try #require(end <= bytes.count, "\(path) has a superblock of \(end) bytes")
    let flags = span.loadLittleEndian(at: 144, as: UInt64.self)
    let type = ChecksumType(rawValue: UInt8(flags >> 2 & 63))
    let found = Checksum128(lo: span.loadLittleEndian(at: 0), hi: span.loadLittleEndian(at: 8))
    let computed = try type.checksum(span.extracting(16..<end))
    #expect(computed == found, "\(path), \(type)")
  }
}
