// SPDX-License-Identifier: GPL-2.0
// Reading past damage: everything that can be had is given, and what cannot is named.
//
// How it works
//   1. A range of a file that no copy gives reads as zeros and is reported.
//   2. Where a btree node is unreadable, nobody knows which keys it had: all positions that it
//      covered are reported, and reading goes on behind it.
// Invariants
//   (1) A range is reported, or its bytes are good.
//   (2) Every call ends: each report moves on by a key or a node at least.
// Locks: none; see Volume and FileHandle.

internal import BcachefsFormat
internal import BcachefsSupport

extension Volume {
  /// Calls `body` with the names of a directory in hash order, from `offset` on; false ends it.
  /// Goes on past names that cannot be read.
  ///
  /// - Parameter onLost: Told why names are missing; how many, nobody knows.
  /// - Throws: `.notFound`, `.notADirectory`, what reading the directory's own inode throws, and
  ///   what `body` throws.
  public func list(
    _ id: FileID, from offset: UInt64 = 0, onLost: @escaping (VolumeError) -> Void,
    _ body: (DirectoryEntry) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    let (inode, reader) = try directory(id)
    try reader.forEach(inode, from: offset, onLost: onLost) { (entry) throws(VolumeError) in
      let child: FileID
      do throws(VolumeError) {
        child = try target(entry, in: id.subvolume)
      } catch {
        onLost(VolumeError(error.code, "\(SafeText.text(entry.name)): \(error)"))
        return true
      }
      return try body(
        DirectoryEntry(
          name: entry.name, id: child, type: entry.type, nextOffset: entry.nextOffset))
    }
  }
}

extension FileHandle {
  /// Reads up to `target.byteCount` bytes from `offset` on; what cannot be read is zeroed.
  ///
  /// - Parameter onLost: Takes each range that cannot be read, in bytes of the file, and why.
  /// - Returns: bytes read; fewer than asked for only at the end of the file.
  /// - Throws: nothing that concerns a part of the file only.
  public func read(
    from offset: UInt64, into target: inout MutableRawSpan,
    onLost: @escaping (Range<UInt64>, VolumeError) -> Void
  ) throws(VolumeError) -> Int {
    try reader.read(inode, from: offset, into: &target, onLost: onLost)
  }

  /// The ranges of the file that are not holes, in order, none beyond its size.
  ///
  /// - Parameters:
  ///   - limit: The most ranges; where there are more, small holes count as data.
  ///   - onLost: Takes ranges of which nobody knows what they are, and why; they are none of the
  ///     result's.
  /// - Throws: nothing that concerns a part of the file only.
  /// - Complexity: one walk over the file's extents; memory is 16 bytes a range.
  public func dataRanges(
    limit: Int = 1 << 16, onLost: @escaping (Range<UInt64>, VolumeError) -> Void
  ) throws(VolumeError) -> [Range<UInt64>] {
    var ranges = DataRanges(limit: limit)
    let size = inode.size
    let clipped: (Range<UInt64>, VolumeError) -> Void = { range, error in
      let lost = range.clamped(to: 0..<size)
      if !lost.isEmpty { onLost(lost, error) }
    }
    try reader.forEachRange(inode, from: 0, onLost: clipped) { (range, kind) throws(VolumeError) in
      if kind == .data { ranges.append(range.clamped(to: 0..<size)) }
      return range.upperBound < size
    }
    return ranges.ranges
  }
}

/// Ascending ranges, merged where they touch; when they become too many, where the gap is small.
struct DataRanges {
  private(set) var ranges: [Range<UInt64>] = []
  private let limit: Int
  /// Gaps of fewer bytes are filled.
  private var leastGap: UInt64 = 1

  /// - Parameter limit: The most ranges, at least 1.
  init(limit: Int) { self.limit = max(limit, 1) }

  /// - Precondition: `range` does not start before the end of the last one.
  mutating func append(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    Self.append(range, to: &ranges, leastGap)
    while ranges.count > limit {
      leastGap = leastGap < 4096 ? 4096 : leastGap << 1
      var merged: [Range<UInt64>] = []
      for range in ranges { Self.append(range, to: &merged, leastGap) }
      ranges = merged
    }
  }

  private static func append(
    _ range: Range<UInt64>, to ranges: inout [Range<UInt64>], _ leastGap: UInt64
  ) {
    if let last = ranges.last,
      range.lowerBound < last.upperBound
        || range.lowerBound - last.upperBound < leastGap
    {
      ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
    } else {
      ranges.append(range)
    }
  }
}
