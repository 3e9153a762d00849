// SPDX-License-Identifier: GPL-2.0
// Filesystems with quotas on, and a clock that tests set.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// A clock that stands still until somebody moves it.
final class SetClock: Sendable {
  private let seconds = Atomic<Int64>(1_000_000)

  func advance(bySeconds count: Int64) { seconds.add(count, ordering: .relaxed) }

  var clocks: Clocks {
    Clocks(
      wallNanoseconds: { self.seconds.load(ordering: .relaxed) * 1_000_000_000 },
      monotonicNanoseconds: Clocks.system.monotonicNanoseconds)
  }
}

enum QuotaVolume {
  /// A disk with all types of quota on.
  static func make(
    recorded: Bool = false, isNocow: Bool = false
  ) throws -> OpenFileSystem {
    try OpenFileSystem(
      {
        if isNocow { $0.build.options[.nocow] = 1 }
        for option in [VolumeOption.usrquota, .grpquota, .prjquota] { $0.build.options[option] = 1 }
      }, recorded: recorded)
  }
}

/// Who uses how much: sectors and inodes.
struct UseTable: Equatable, CustomStringConvertible {
  struct Use: Equatable {
    var sectors: UInt64 = 0
    var inodes: UInt64 = 0
  }

  private var uses: [String: Use] = [:]

  mutating func add(_ type: QuotaType, _ id: UInt32, _ sectors: UInt64, _ inodes: UInt64) {
    guard sectors > 0 || inodes > 0 else { return }
    uses["\(type.word) \(id)", default: Use()].sectors += sectors
    uses["\(type.word) \(id)", default: Use()].inodes += inodes
  }

  mutating func add(_ inode: Inode) {
    let ids = QuotaIDs(inode)
    for type in QuotaType.all { add(type, ids[type], inode.sectors, 1) }
  }

  init() {}

  init(_ reports: [QuotaReport]) {
    for report in reports {
      for entry in report.entries {
        add(report.type, entry.id, entry.usedSectors, entry.usedInodes)
      }
    }
  }

  init(_ usage: QuotaUsage) {
    for type in QuotaType.all {
      for (id, use) in usage.uses(type) { add(type, id, use.sectors, use.inodes) }
    }
  }

  var description: String {
    uses.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.sectors) \($0.value.inodes)" }
      .joined(separator: ", ")
  }
}

extension FileSystem {
  /// What is in force, and what a count of all inodes gives now.
  func useTables() throws -> (kept: UseTable, counted: UseTable) {
    contents.writeAll()
    return (UseTable(quotaReports()), UseTable(try engine.countQuotaUsage()))
  }

  /// What somebody uses.
  func use(_ type: QuotaType, _ id: UInt32) -> (sectors: UInt64, inodes: UInt64) {
    let entry = quotaReports().first { $0.type == type }?.entries.first { $0.id == id }
    return (entry?.usedSectors ?? 0, entry?.usedInodes ?? 0)
  }

  /// Makes a file of user 1000 and group 100.
  func makeOwnedFile(
    _ name: String, in parent: FileID? = nil, uid: UInt32 = 1000, gid: UInt32 = 100,
    quotas: QuotaRule = .enforced
  ) throws(VolumeError) -> FileID {
    var creation = FileCreation(.regular, permissions: 0o644)
    (creation.uid, creation.gid) = (uid, gid)
    return try create(Array(name.utf8), in: parent ?? root, creation, quotas: quotas).id
  }

  func write(
    _ id: FileID, sectors: Int, atSector sector: Int = 0, quotas: QuotaRule = .enforced
  ) throws(VolumeError) {
    let bytes = [UInt8](repeating: 0x71, count: sectors * 512)
    try write(id, bytes.rawBytes, at: UInt64(sector) * 512, quotas: quotas)
  }
}
