// SPDX-License-Identifier: GPL-2.0
// Finds a device's superblock, also when the main copy is gone.
//
// How it works
//   1. The main copy stands at sector 8. If it decodes and is valid, it counts.
//   2. Else the layout in sector 7 names the other copies, and of those that are valid the newest
//      counts.
//   3. Else the start and the end of the device are searched, sector by sector, for copies that say
//      of themselves that they stand where they were found.
//   4. A copy with a right checksum whose values contradict each other is better than none: it is
//      kept as a last resort, and said to be doubtful.
// Invariants
//   (1) Nothing is written, and whatever the bytes are the work is bounded by `searchedBytes` and
//       `candidateBytes`: a device can be full of what looks like the beginning of a superblock.
// Source: super-io.c (bch2_read_super); the search is our own.

public import BcachefsFormat
public import BcachefsIO
internal import BcachefsSupport

/// A superblock, and how it was come by.
public struct FoundSuperblock: Sendable {
  public enum Place: Sendable, Equatable {
    case main
    /// A copy that the layout in sector 7 names.
    case layout
    /// A copy that a search came across.
    case search
  }

  public let superblock: Superblock
  public let place: Place
  /// The 512-byte sector in which it stands.
  public let sector: UInt64
  /// What is wrong with the main copy, where it is not this one.
  public let mainProblem: SuperblockProblem?
  /// Why it is not to be trusted: its checksum is right, its contents are not.
  public let doubt: FormatError?
}

/// Why a copy of a superblock is of no use.
public enum SuperblockProblem: Error, Sendable, CustomStringConvertible {
  case format(FormatError)
  case device(DeviceError)

  public var description: String {
    switch self {
    case .format(let error): "\(error)"
    case .device(let error): "\(error)"
    }
  }
}

/// A device has no superblock that can be read.
public struct NoSuperblock: Error, Sendable, CustomStringConvertible {
  public let device: String
  /// What is wrong with the main copy.
  public let mainProblem: SuperblockProblem

  public var description: String {
    "\(device) has no superblock that can be read: the main copy (sector 8): \(mainProblem); "
      + "no backup copy was found"
  }
}

extension FoundSuperblock {
  /// At each end of the device.
  static let searchedBytes: UInt64 = 64 << 20
  /// Of all copies that are looked at.
  static let candidateBytes = 256 << 20

  /// Reads the superblock of a device.
  ///
  /// - Parameter device: Open in any mode.
  /// - Throws: when there is no copy whose checksum is right.
  public init(reading device: BlockDevice) throws(NoSuperblock) {
    let main = SuperblockLayout.defaultSuperblockSector
    var doubtful: FoundSuperblock?
    let problem: SuperblockProblem
    var budget = Self.candidateBytes
    switch Self.read(device, main, &budget) {
    case .success(let superblock):
      guard let doubt = Self.doubt(of: superblock) else {
        self.init(
          superblock: superblock, place: .main, sector: main, mainProblem: nil, doubt: nil)
        return
      }
      problem = .format(doubt)
      doubtful = FoundSuperblock(
        superblock: superblock, place: .main, sector: main, mainProblem: nil, doubt: doubt)
    case .failure(let failure): problem = failure
    }
    let named = Self.sectorsOfLayout(device)
    for (place, sectors) in [(Place.layout, named), (.search, nil)] {
      let sectors = sectors ?? Self.search(device)
      var copies: [(sector: UInt64, superblock: Superblock)] = []
      for sector in sectors where sector != main {
        guard case .success(let superblock) = Self.read(device, sector, &budget),
          superblock.sector == sector
        else { continue }
        copies.append((sector, superblock))
      }
      let valid = copies.map { Self.doubt(of: $0.superblock) == nil ? $0.superblock : nil }
      if let index = Superblock.newestIndex(of: valid) {
        self.init(
          superblock: copies[index].superblock, place: place, sector: copies[index].sector,
          mainProblem: problem, doubt: nil)
        return
      }
      if doubtful == nil, let copy = copies.first {
        doubtful = FoundSuperblock(
          superblock: copy.superblock, place: place, sector: copy.sector, mainProblem: problem,
          doubt: Self.doubt(of: copy.superblock))
      }
    }
    guard let doubtful else { throw NoSuperblock(device: device.name, mainProblem: problem) }
    self = doubtful
  }

  /// The main copy, if its checksum is right: whether a device holds a volume, without a search.
  public static func mainCopy(on device: BlockDevice) -> Superblock? {
    var budget = candidateBytes
    return try? read(device, SuperblockLayout.defaultSuperblockSector, &budget).get()
  }

  private static func doubt(of superblock: Superblock) -> FormatError? {
    do throws(FormatError) {
      try superblock.validate()
      return nil
    } catch {
      return error
    }
  }

  // MARK: - Copies

  /// - Parameter budget: Bytes that may still be read; what is read is taken off.
  private static func read(
    _ device: BlockDevice, _ sector: UInt64, _ budget: inout Int
  ) -> Result<Superblock, SuperblockProblem> {
    do throws(DeviceError) {
      let (start, overflow) = sector.multipliedReportingOverflow(by: 512)
      let room = overflow || start > device.byteCount ? 0 : device.byteCount - start
      var head = AlignedBuffer(byteCount: 4096)
      var span = head.mutableBytes
      var part = span._mutatingExtracting(0..<Int(min(room, 4096)))
      if !overflow { try device.read(into: &part, atByte: start) }
      do throws(FormatError) {
        let headBytes = head.bytes.extracting(0..<Int(min(room, 4096)))
        let byteCount = try Superblock.byteCount(ofHeader: headBytes)
        guard UInt64(byteCount) <= room, byteCount <= budget else {
          throw FormatError(
            .truncated, "bch_sb", "u64s", found: min(room, UInt64(max(budget, 0))),
            expected: UInt64(byteCount))
        }
        budget -= max(byteCount, 4096)
        var whole = AlignedBuffer(byteCount: byteCount)
        var target = whole.mutableBytes
        if let problem = fill(&target, device, start) { return .failure(.device(problem)) }
        return .success(try Superblock(decoding: whole.bytes))
      } catch {
        return .failure(.format(error))
      }
    } catch {
      return .failure(.device(error))
    }
  }

  private static func fill(
    _ span: inout MutableRawSpan, _ device: BlockDevice, _ start: UInt64
  ) -> DeviceError? {
    do throws(DeviceError) {
      try device.read(into: &span, atByte: start)
      return nil
    } catch {
      return error
    }
  }

  /// Where the copies are, by the layout that stands alone; empty when that is gone too.
  private static func sectorsOfLayout(_ device: BlockDevice) -> [UInt64] {
    var buffer = AlignedBuffer(byteCount: 4096)
    var span = buffer.mutableBytes
    guard device.byteCount >= 4096, fill(&span, device, 0) == nil else { return [] }
    let start = Int(SuperblockLayout.sector) * 512
    do throws(FormatError) {
      let layout = try SuperblockLayout(
        decoding: buffer.bytes.extracting(start..<start + SuperblockLayout.Layout.byteCount))
      try layout.validate()
      return Array(layout.copySectors)
    } catch {
      return []
    }
  }

  // MARK: - Search

  /// Sectors at either end of the device that look like the start of a superblock.
  private static func search(_ device: BlockDevice) -> [UInt64] {
    let total = device.byteCount
    let late = total > searchedBytes ? total - searchedBytes : 0
    var found: [UInt64] = []
    var position: UInt64 = 4096
    var buffer = AlignedBuffer(byteCount: 1 << 20)
    while position < total {
      if position >= searchedBytes && position < late { position = late / 4096 * 4096 }
      let count = Int(min(UInt64(buffer.byteCount), total - position))
      var span = buffer.mutableBytes
      var part = span._mutatingExtracting(0..<count)
      if fill(&part, device, position) == nil {
        for offset in stride(from: 0, to: count - Superblock.Layout.byteCount, by: 512)
        where looksLikeSuperblock(buffer.bytes, at: offset) {
          found.append((position + UInt64(offset)) / 512)
        }
      }
      position += UInt64(count)
    }
    return found
  }

  private static func looksLikeSuperblock(_ bytes: RawSpan, at offset: Int) -> Bool {
    UUID(decoding: bytes, at: offset + Superblock.Layout.magic) == SuperblockMagic.bcachefs
      && bytes.loadLittleEndian(at: offset + Superblock.Layout.sector.offset, as: UInt64.self) != 0
  }
}
