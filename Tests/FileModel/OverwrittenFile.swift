// SPDX-License-Identifier: GPL-2.0
// A file whose blocks say which block they are and which of its versions: so what is found can be
// judged without a copy of it.

public import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

/// A file of a filesystem, and which version of each block was written last.
public struct OverwrittenFile: Sendable {
  private static let blockBytes = 4096
  private let id: FileID
  public let blockCount: Int
  /// Of each block, the version that was written last; 0 for none.
  public private(set) var versions: [UInt64]
  private var next: UInt64 = 1
  private var random: SplitMix64

  /// - Parameter blockCount: Blocks of 4 KiB.
  public init(_ id: FileID, blockCount: Int, seed: UInt64) {
    self.id = id
    self.blockCount = blockCount
    versions = [UInt64](repeating: 0, count: blockCount)
    random = SplitMix64(seed: seed)
  }

  /// What a block should be: a quarter of it is noise, the rest can be compressed.
  private static func fill(_ block: Int, _ version: UInt64, _ bytes: inout MutableRawSpan) {
    var noise = SplitMix64(seed: UInt64(block) << 32 ^ version)
    for word in 0..<blockBytes / 8 {
      var value = version &* 31
      if word % 4 == 0 { value = noise.next() }
      if word == 0 { value = UInt64(block) }
      if word == 1 { value = version }
      bytes[LEField<UInt64>(word * 8)] = value
    }
  }

  /// The version that bytes are of a block; nil where they are none.
  private static func version(of block: Int, _ bytes: RawSpan) -> UInt64? {
    let version = bytes[LEField<UInt64>(8)]
    var expected = [UInt8](repeating: 0, count: blockBytes)
    var span = expected.mutableRawBytes
    fill(block, version, &span)
    return bytes.elementsEqual(expected) ? version : nil
  }

  /// Writes blocks in a row.
  mutating func write(_ blocks: Range<Int>, _ files: FileSystem) throws(VolumeError) {
    let buffer = HeapBuffer(byteCount: blocks.count * Self.blockBytes)
    let version = next
    next += 1
    for (index, block) in blocks.enumerated() {
      var all = buffer.mutableBytes
      var part = all._mutatingExtracting(
        index * Self.blockBytes..<(index + 1) * Self.blockBytes)
      Self.fill(block, version, &part)
    }
    try files.write(id, buffer.bytes, at: UInt64(blocks.lowerBound * Self.blockBytes))
    for block in blocks { versions[block] = version }
  }

  /// Writes all of it, from front to back.
  public mutating func writeAll(_ files: FileSystem) throws(VolumeError) {
    var start = 0
    while start < blockCount {
      let end = min(start + 32, blockCount)
      try write(start..<end, files)
      start = end
    }
  }

  /// Overwrites so many blocks at random.
  public mutating func overwrite(_ count: Int, _ files: FileSystem) throws(VolumeError) {
    for _ in 0..<count {
      let block = Int(random.next() % UInt64(blockCount))
      try write(block..<block + 1, files)
    }
  }

  /// Calls `body` with the version of each block that is there, nil for what never was written.
  public static func eachVersion(
    _ blockCount: Int, _ read: (UInt64, inout MutableRawSpan) throws -> Void,
    _ body: (Int, UInt64?) -> Void
  ) throws {
    let buffer = HeapBuffer(byteCount: 32 * blockBytes)
    var start = 0
    while start < blockCount {
      let count = min(32, blockCount - start)
      var all = buffer.mutableBytes
      var part = all._mutatingExtracting(0..<count * blockBytes)
      try read(UInt64(start * blockBytes), &part)
      for index in 0..<count {
        body(
          start + index,
          version(
            of: start + index,
            buffer.bytes.extracting(index * blockBytes..<(index + 1) * blockBytes)))
      }
      start += count
    }
  }

  /// How many blocks are not what was written last.
  public func wrongBlocks(_ files: FileSystem) throws -> Int {
    var wrong = 0
    try Self.eachVersion(
      blockCount, { offset, target in _ = try files.read(id, from: offset, into: &target) },
      { block, version in if version != versions[block] { wrong += 1 } })
    return wrong
  }
}
