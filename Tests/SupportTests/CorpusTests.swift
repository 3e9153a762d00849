// SPDX-License-Identifier: GPL-2.0
// Superblocks that the driver wrote carry the checksums computed here. Runs where
// BCACHEFS_TEST_CORPUS names a folder of volumes.

import BcachefsSupport
import Glibc
import Testing

struct CorpusTests {
  static let folder: String? = unsafe getenv("BCACHEFS_TEST_CORPUS").map {
    unsafe String(cString: $0)
  }

  /// Paths of the volumes (`*.img`).
  static func volumes() -> [String] {
    guard let folder, let directory = unsafe opendir(folder) else { return [] }
    defer { unsafe closedir(directory) }
    var paths: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
          unsafe String(cString: $0)
        }
      }
      if name.hasSuffix(".img") { paths.append("\(folder)/\(name)") }
    }
    return paths.sorted()
  }

  /// Up to 64 KiB from byte 4096 on, where the first superblock is.
  func superblock(of path: String) -> [UInt8] {
    let file = unsafe open(path, O_RDONLY)
    guard file >= 0 else { return [] }
    defer { _ = close(file) }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = unsafe pread(file, &bytes, bytes.count, 4096)
    return Array(bytes[..<max(0, count)])
  }

  @Test(.enabled(if: folder != nil, "BCACHEFS_TEST_CORPUS is not set"))
  func superblocksCarryTheirChecksums() throws {
    let volumes = Self.volumes()
    #expect(!volumes.isEmpty)
    var seen: Set<ChecksumType> = []
    for path in volumes {
      let bytes = superblock(of: path)
      let span = bytes.rawBytes
      let end = 752 + 8 * Int(span.loadLittleEndian(at: 124, as: UInt32.self))
      guard bytes.count > 752, end <= bytes.count else {
        Issue.record("\(path) has no superblock")
        continue
      }
      let flags = span.loadLittleEndian(at: 144, as: UInt64.self)
      let type = ChecksumType(rawValue: UInt8(flags >> 2 & 63))
      seen.insert(type)
      let found = Checksum128(lo: span.loadLittleEndian(at: 0), hi: span.loadLittleEndian(at: 8))
      let computed = try type.checksum(span.extracting(16..<end))
      #expect(computed == found, "\(path), \(type)")
    }
    print("checksum types of superblocks: \(seen.map(\.description).sorted())")
  }
}
