// SPDX-License-Identifier: GPL-2.0
// Reads and verifies copies of one device in the order of their sectors.
//
// How it works
//   1. Copies that stand close together are read by one large read, gaps included.
//   2. When that fails, each copy is read alone: so one bad sector costs the copies it is in, not
//      their neighbours.
// Invariants
//   (1) Memory is `groupBytes`, or one copy where it is larger: encoded extents, nodes and granules
//       are bounded by the format, everything else is read in pieces.
// Locks: none; a sweep belongs to one thread.

internal import BcachefsFormat
internal import BcachefsSupport

struct DeviceSweep {
  private static let groupBytes = 4 << 20
  /// Gaps up to this are read rather than sought over.
  private static let gapSectors: UInt64 = 128

  let window: ScrubWindow
  let media: VolumeMedia
  let decoder: NodeDecoder
  /// Told of sectors that have been checked, as accounting counts them.
  let progress: @Sendable (UInt64) -> Void
  let shouldStop: @Sendable () -> Bool

  private var buffer = HeapBuffer(byteCount: 0)
  private var failures: [ScrubFailure] = []

  init(
    window: ScrubWindow, media: VolumeMedia, decoder: NodeDecoder,
    progress: @escaping @Sendable (UInt64) -> Void, shouldStop: @escaping @Sendable () -> Bool
  ) {
    self.window = window
    self.media = media
    self.decoder = decoder
    self.progress = progress
    self.shouldStop = shouldStop
  }

  /// Checks copies of one device, given in the order of their sectors.
  mutating func run(_ list: ArraySlice<Int>) -> [ScrubFailure] {
    var start = list.startIndex
    while start < list.endIndex, !shouldStop() {
      let first = window.copies[list[start]]
      var reach = first.sector + UInt64(first.sectorCount)
      var end = start + 1
      while end < list.endIndex {
        let next = window.copies[list[end]]
        let nextReach = max(reach, next.sector + UInt64(next.sectorCount))
        guard next.sector <= reach + Self.gapSectors,
          nextReach - first.sector <= UInt64(Self.groupBytes / 512)
        else { break }
        reach = nextReach
        end += 1
      }
      checkGroup(list[start..<end], from: first.sector, upTo: reach)
      progress(list[start..<end].reduce(0) { $0 + UInt64(window.copies[$1].countedSectors) })
      start = end
    }
    return failures
  }

  private mutating func checkGroup(_ group: ArraySlice<Int>, from first: UInt64, upTo end: UInt64) {
    let sectorCount = end - first
    guard sectorCount <= UInt64(Self.groupBytes / 512), group.count > 1,
      let device = group.first.map({ window.copies[$0].device })
    else {
      for index in group { checkAlone(index) }
      return
    }
    do throws(VolumeError) {
      try read(device, atSector: first, byteCount: Int(sectorCount) * 512)
    } catch {
      for index in group { checkAlone(index) }
      return
    }
    for index in group {
      let copy = window.copies[index]
      let start = Int(copy.sector - first) * 512
      verify(index, start..<start + Int(copy.sectorCount) * 512)
    }
  }

  /// Reads to the start of `buffer`.
  private mutating func read(
    _ device: UInt8, atSector sector: UInt64, byteCount: Int
  ) throws(VolumeError) {
    if buffer.byteCount < byteCount { buffer = HeapBuffer(byteCount: byteCount) }
    let target = buffer
    var all = target.mutableBytes
    var bytes = all._mutatingExtracting(0..<byteCount)
    try media.read(device, atSector: sector, into: &bytes)
  }

  private mutating func checkAlone(_ index: Int) {
    let copy = window.copies[index]
    let total = Int(copy.sectorCount) * 512
    do throws(VolumeError) {
      guard case .readable = copy.check else {
        try read(copy.device, atSector: copy.sector, byteCount: total)
        verify(index, 0..<total)
        return
      }
      var done = 0
      while done < total {
        let part = min(total - done, Self.groupBytes)
        try read(copy.device, atSector: copy.sector + UInt64(done / 512), byteCount: part)
        done += part
      }
    } catch {
      failures.append(ScrubFailure(copy: index, problem: "\(error)"))
    }
  }

  /// Verifies what `buffer` has of a copy.
  private mutating func verify(_ index: Int, _ range: Range<Int>) {
    let copy = window.copies[index]
    let source = buffer
    let bytes = source.bytes.extracting(range)
    var problem: String?
    switch (copy.check, window.subjects[copy.subject]) {
    case (.extent(let crc, let version), _): problem = media.problem(with: bytes, crc, version)
    case (.node, .node(let expected, _)): problem = check(bytes, expected)
    case (.granule(let block, let granule), .stripe(let layout)):
      if !layout.verifies(bytes, block: block, granule: granule) {
        problem = "checksum of the stripe's block \(block) is wrong"
      }
    default: break
    }
    if let problem { failures.append(ScrubFailure(copy: index, problem: problem)) }
  }

  private func check(_ bytes: RawSpan, _ expected: NodeExpectation) -> String? {
    let image = HeapBuffer(byteCount: bytes.byteCount)
    do {
      var target = image.mutableBytes
      target.copy(bytes, to: 0)
    }
    do throws(VolumeError) {
      _ = try decoder.decode(image, expecting: expected)
      return nil
    } catch {
      return "\(error)"
    }
  }
}
