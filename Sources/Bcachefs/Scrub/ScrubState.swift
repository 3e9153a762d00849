// SPDX-License-Identifier: GPL-2.0
// How far a scrub is, and what it has found: all that is needed to go on with it.
//
// Invariants
//   (1) Everything before `place` has been checked and is in the counts, nothing behind it.
//   (2) Findings are bounded; their number is exact.

internal import BcachefsFormat
public import BcachefsSupport

/// What a scrub looks at.
public struct ScrubOptions: Sendable, Equatable {
  /// Superblocks, journal and btree nodes only.
  public var isMetadataOnly = false
  /// Only what is on this member; nil for all.
  public var device: UInt8?

  /// Everything, on all members.
  public init() {}
}

/// The parts of a scrub, in their order.
public enum ScrubPhase: UInt8, Sendable, CaseIterable, Comparable {
  case superblocks = 0
  case journal
  case nodes
  case extents
  case indirectExtents
  case stripes
  /// Names are looked for that no inode knows.
  case names
  case done

  /// The order in which they come.
  public static func < (a: ScrubPhase, b: ScrubPhase) -> Bool { a.rawValue < b.rawValue }
}

/// A scrub that has not begun, is interrupted, or is over.
public struct ScrubState: Sendable, Equatable {
  /// The most findings that are kept.
  public static let findingsMax = 10_000

  /// Where it goes on. In the phase `nodes`: behind the node that ends at `position` on `level` of
  /// `btree`; in others: at the key `position`.
  struct Place: Sendable, Equatable {
    var phase = ScrubPhase.superblocks
    var btree = BTreeID(rawValue: 0)
    var level: UInt8 = 0
    var position = BPos.min
    /// Nothing of this phase has been checked.
    var isAtStart = true
  }

  /// The volume's internal UUID.
  public let volume: UUID
  /// Number of its superblock: it counts writes of it.
  public let superblockNumber: UInt64
  /// What the scrub looks at.
  public let options: ScrubOptions
  var place = Place()
  /// By member index.
  public internal(set) var devices: [ScrubDeviceCounts]
  /// What is damaged, in the order in which it was found; no more than `findingsMax`.
  public internal(set) var findings: [ScrubFinding] = []
  /// How many findings are harmless, beyond those kept too.
  public internal(set) var harmlessCount: UInt64 = 0
  /// The same of what is repairable.
  public internal(set) var repairableCount: UInt64 = 0
  /// The same of what is lost.
  public internal(set) var lostCount: UInt64 = 0

  init(
    volume: UUID, superblockNumber: UInt64, options: ScrubOptions, devices: [ScrubDeviceCounts]
  ) {
    self.volume = volume
    self.superblockNumber = superblockNumber
    self.options = options
    self.devices = devices
  }

  /// What comes next, or is under way.
  public var phase: ScrubPhase { place.phase }
  /// Whether everything has been checked.
  public var isFinished: Bool { place.phase == .done }
  /// How many findings there were, beyond those kept too.
  public var findingCount: UInt64 { harmlessCount + repairableCount + lostCount }
  /// All that has been checked, on all members.
  public var checkedSectors: UInt64 { devices.reduce(0) { $0 &+ $1.checkedSectors } }

  /// Counters of damaged volumes may be anything: the largest number stands for what is larger.
  public static func byteCount(ofSectors sectors: UInt64) -> UInt64 {
    let (bytes, overflow) = sectors.multipliedReportingOverflow(by: 512)
    return overflow ? .max : bytes
  }

  mutating func begin(_ phase: ScrubPhase) {
    place = Place()
    place.phase = phase
  }

  mutating func add(_ finding: ScrubFinding) {
    switch finding.outcome {
    case .harmless: harmlessCount += 1
    case .repairable: repairableCount += 1
    case .lost: lostCount += 1
    }
    for copy in finding.copies where devices.indices.contains(Int(copy.device)) {
      let count = UInt64(copy.sectorCount)
      switch finding.outcome {
      case .harmless: devices[Int(copy.device)].harmlessSectors &+= count
      case .repairable: devices[Int(copy.device)].repairableSectors &+= count
      case .lost: devices[Int(copy.device)].lostSectors &+= count
      }
    }
    if findings.count < Self.findingsMax { findings.append(finding) }
  }
}
