// SPDX-License-Identifier: GPL-2.0
// Files read in pieces of any size and order have the same bytes as files read whole.

import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct PieceReadTests {
  private static let mostBytes = 1 << 20

  private func files(_ volume: Volume, below id: FileID) throws -> [FileID] {
    var found: [FileID] = []
    var folders: [FileID] = [id]
    while let folder = folders.popLast() {
      try volume.list(folder) { (entry) throws(VolumeError) in
        if entry.kind == .directory { folders.append(entry.id) }
        if entry.kind == .regular { found.append(entry.id) }
        return true
      }
    }
    return found
  }

  private func read(_ handle: FileHandle, _ range: Range<Int>) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: range.count)
    var span = bytes.mutableRawBytes
    let count = try handle.read(from: UInt64(range.lowerBound), into: &span)
    return Array(bytes[..<count])
  }

  @Test(arguments: ["compressed", "encrypted", "replicas", "snapshots"])
  func piecesAreWhatTheWholeIs(_ name: String) throws {
    let sample = try SampleVolume.fixture(name)
    try withTemporaryFolder { folder in
      let volume = try Volume.open(
        VolumeSources(paths: try sample.unpack(into: folder)),
        unlock: UnlockSource(ask: { _ in sample.passphrase }))
      var random = Xoshiro256(seed: 9)
      var pieces = 0
      for file in try files(volume, below: volume.root) {
        let size = Int(min(try volume.attributes(file).byteCount, UInt64(Self.mostBytes)))
        let whole = try read(try volume.open(file), 0..<size)
        #expect(whole.count == size)
        let handle = try volume.open(file)
        for _ in 0..<20 where size > 0 {
          let start = Int(random.next() % UInt64(size))
          let length = 1 + Int(random.next() % UInt64(min(size - start, 20_000)))
          #expect(try read(handle, start..<start + length) == Array(whole[start..<start + length]))
          pieces += 1
        }
        // One after the other, each within what was read before or right behind it.
        for start in stride(from: 0, to: size, by: 4096) {
          let end = min(start + 4096, size)
          #expect(try read(handle, start..<end) == Array(whole[start..<end]))
        }
      }
      #expect(pieces > 200 || name == "encrypted")
    }
  }
}
