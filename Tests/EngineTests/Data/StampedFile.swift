// SPDX-License-Identifier: GPL-2.0
// A file whose sectors say which sector they are and which of its versions: what is torn shows.

internal import BcachefsFormat
internal import BcachefsSupport

@testable internal import Bcachefs

struct StampedFile {
  let id: FileID
  /// Of each sector, the version that was written last; 0 for none.
  private(set) var versions: [UInt64]
  private var next: UInt64 = 1

  init(_ id: FileID, sectorCount: Int) {
    self.id = id
    versions = [UInt64](repeating: 0, count: sectorCount)
  }

  /// Writes sectors in a row; blocks may be larger.
  mutating func write(_ sectors: Range<Int>, _ files: FileSystem) throws(VolumeError) {
    let buffer = HeapBuffer(byteCount: sectors.count * 512)
    var bytes = buffer.mutableBytes
    for (index, sector) in sectors.enumerated() {
      for word in 0..<64 {
        bytes[LEField<UInt64>(index * 512 + word * 8)] = Self.word(word, sector, next)
      }
    }
    try files.write(id, buffer.bytes, at: UInt64(sectors.lowerBound * 512))
    for sector in sectors { versions[sector] = next }
    next += 1
  }

  private static func word(_ word: Int, _ sector: Int, _ version: UInt64) -> UInt64 {
    word == 0 ? version : UInt64(sector) << 32 ^ version &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(word)
  }

  /// The version of each sector of a file's contents; nil where they are none. Zeros are version 0.
  static func versions(_ bytes: [UInt8]) -> [UInt64?] {
    let span = bytes.rawBytes
    return (0..<bytes.count / 512).map { sector in
      let version = span[LEField<UInt64>(sector * 512)]
      let isGood = (1..<64).allSatisfy { word in
        let found = span[LEField<UInt64>(sector * 512 + word * 8)]
        return found == (version == 0 ? 0 : Self.word(word, sector, version))
      }
      return isGood ? version : nil
    }
  }

  /// How many sectors are not what was written last.
  func wrongSectors(_ files: FileSystem) throws -> Int {
    let found = Self.versions(try files.contents(of: id))
    return zip(
      versions, found + [UInt64?](repeating: nil, count: max(0, versions.count - found.count))
    )
    .count { $0 != $1 }
  }
}

extension FileSystem {
  /// All of a file.
  func contents(of id: FileID) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: Int(try attributes(of: id).inode.size))
    var span = bytes.mutableRawBytes
    let count = try read(id, from: 0, into: &span)
    return Array(bytes.prefix(count))
  }

  /// Where a file's extents are: of each the sectors of the file, its snapshot, and its places.
  func places(of id: FileID) throws -> [FilePlaces] {
    try engine.run("test_places") { (transaction) throws(TransactionError) in
      var result: [FilePlaces] = []
      let snapshot = try transaction.subvolume(id.subvolume).snapshot
      var walk = SnapshotWalk(.extents, id.inode, from: 1, snapshot: snapshot)
      while let found = try transaction.next(&walk) {
        var places = FilePlaces(
          sectors: found.key.start.offset..<found.key.position.offset, type: found.key.type)
        if found.key.type == .extent {
          places.pointers = try found.decoded { (value) throws(FormatError) in
            var list: [ExtentPtr] = []
            var pointers = try ExtentEntries(
              key: found.key, value: value, sizes: self.engine.media.entrySizes
            ).pointers
            while let pointer = pointers.next() {
              var place = pointer.ptr
              place.offset += UInt64(pointer.crc.offset)
              list.append(place)
            }
            return list
          }
        }
        result.append(places)
      }
      return result
    }
  }
}

struct FilePlaces: Equatable {
  let sectors: Range<UInt64>
  let type: BKeyType
  var pointers: [ExtentPtr] = []

  var isUnwritten: Bool { pointers.contains { $0.isUnwritten } }
}

extension [FilePlaces] {
  /// For each sector of the file on which device and where it is, whatever keys say so.
  var bySector: [UInt64: [UInt64]] {
    var result: [UInt64: [UInt64]] = [:]
    for extent in self where extent.type == .extent {
      for sector in extent.sectors {
        let inside = sector - extent.sectors.lowerBound
        result[sector] = extent.pointers.map { UInt64($0.device) << 44 | ($0.offset + inside) }
      }
    }
    return result
  }

  /// Sectors of the file that are allocated and not written.
  var unwrittenSectors: UInt64 {
    reduce(0) { $0 + ($1.isUnwritten ? UInt64($1.sectors.count) : 0) }
  }
}
