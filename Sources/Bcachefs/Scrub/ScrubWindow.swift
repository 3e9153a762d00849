// SPDX-License-Identifier: GPL-2.0
// A part of the volume, small enough to be held in memory, large enough that reading it in the
// order of the devices pays.
//
// How it works
//   1. Keys come in the order of their btrees. Each becomes a subject, with a copy for each place
//      where it is.
//   2. When the window is full, the copies are sorted by device and sector, and read so: on a disk
//      with seeks a window is one sweep from its first to its last sector.
// Invariants
//   (1) At most `entriesMax` subjects and copies, and `sectorsMax` sectors, are in a window, but
//       for the last subject.

internal import BcachefsFormat
internal import BcachefsSupport

/// How a copy is known to be good.
enum ScrubCheck: Sendable {
  /// That it can be read is all there is to know.
  case readable
  case extent(ExtentCrc, BVersion)
  case node
  case granule(block: Int, index: Int)
}

/// A place on a device that is to be read.
struct ScrubCopy: Sendable {
  let device: UInt8
  let dataType: DataType
  let sector: UInt64
  let sectorCount: UInt32
  /// What accounting counts of it.
  let countedSectors: UInt32
  /// Index of what it is a copy of.
  let subject: Int
  let check: ScrubCheck
}

/// What copies are copies of.
enum ScrubSubject: Sendable {
  case node(NodeExpectation, pointer: KeyReference)
  case extent(btree: BTreeID, position: BPos, size: UInt32)
  case stripe(StripeLayout)
}

/// A copy that is bad.
struct ScrubFailure: Sendable {
  let copy: Int
  let problem: String
}

struct ScrubWindow: Sendable {
  static let entriesMax = 1 << 17
  /// 8 GiB: a minute or so of a disk, which is what an interruption costs.
  private static let sectorsMax: UInt64 = 16 << 20

  private(set) var subjects: [ScrubSubject] = []
  private(set) var copies: [ScrubCopy] = []
  /// Subjects without a copy that could be read, and what is known of them.
  private(set) var bare: [(subject: Int, note: String)] = []
  /// What is known to be damaged without reading.
  private(set) var findings: [ScrubFinding] = []
  /// By device, copies that are out of reach.
  private(set) var missing: [UInt8: UInt64] = [:]
  private var sectors: UInt64 = 0
  private let entriesMax: Int

  init(entriesMax: Int = entriesMax) { self.entriesMax = entriesMax }

  var isFull: Bool {
    subjects.count + copies.count >= entriesMax || sectors >= Self.sectorsMax
  }

  /// - Returns: The subject's index, for its copies.
  mutating func add(_ subject: ScrubSubject) -> Int {
    subjects.append(subject)
    return subjects.count - 1
  }

  mutating func add(_ copy: ScrubCopy) {
    copies.append(copy)
    sectors += UInt64(copy.sectorCount)
  }

  /// The subject has no copy that could be read.
  mutating func addBare(_ subject: Int, note: String = "") { bare.append((subject, note)) }

  mutating func add(_ finding: ScrubFinding) { findings.append(finding) }

  mutating func addMissing(_ device: UInt8) { missing[device, default: 0] += 1 }

  mutating func removeAll() {
    subjects.removeAll(keepingCapacity: true)
    copies.removeAll(keepingCapacity: true)
    bare.removeAll(keepingCapacity: true)
    findings.removeAll()
    missing.removeAll()
    sectors = 0
  }

  /// The copies on each device, by sector.
  func inDeviceOrder() -> [UInt8: [Int]] {
    var lists: [UInt8: [Int]] = [:]
    for index in copies.indices { lists[copies[index].device, default: []].append(index) }
    for device in Array(lists.keys) {
      lists[device]?.sort { copies[$0].sector < copies[$1].sector }
    }
    return lists
  }
}
