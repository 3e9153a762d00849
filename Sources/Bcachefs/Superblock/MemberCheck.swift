// SPDX-License-Identifier: GPL-2.0
// Whether the members that are there are enough, and if not, who is missing.
//
// How it works
//   1. Without `degraded` each member in use (rw, ro) must be there.
//   2. With it each replicas entry must have as many of its devices as reading takes; entries of
//      cached data do not count, nor those whose other devices have all failed or are gone.
//   3. With `very_degraded` what then cannot be read is a warning.
// Invariants
//   (1) From 1.36 on the entries tell of metadata only: that is said in a warning.
// Source: `bch2_fs_may_start` (super.c), `bch2_have_enough_devs` (replicas.c).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct MemberCheck {
  let superblock: Superblock
  let members: [Member]
  let isThere: [Bool]

  init(_ superblock: Superblock, devices: [BlockDevice?]) {
    self.superblock = superblock
    members = superblock.members
    isThere = devices.map { $0 != nil }
  }

  /// Decides, and says what is missing.
  ///
  /// - Returns: warnings, a line each.
  /// - Throws: `.missingMembers`.
  func check(_ options: VolumeOptions) throws(VolumeError) -> [String] {
    let missing = members.indices.filter { members[$0].isAlive && !has($0) }
    guard !missing.isEmpty else { return [] }
    let names = missing.map(name).joined(separator: "; ")
    let needed = missing.contains { members[$0].state == .rw || members[$0].state == .ro }
    let lost = lostEntries
    let isVery = options.isOn(.veryDegraded)
    if needed && !options.isOn(.degraded) && !isVery {
      let advice =
        lost.isEmpty
        ? "name them too, or open the volume with the option degraded: everything \(scope) is there"
        : "name them too; \(text(of: lost)), so that only very_degraded opens it without them"
      throw VolumeError(.missingMembers, "\(head(missing.count)): \(names); \(advice)")
    }
    if !lost.isEmpty && !isVery {
      throw VolumeError(
        .missingMembers,
        "\(head(missing.count)), more than it can do without: \(names); \(text(of: lost)); name "
          + "them too, or read what is left with the option very_degraded")
    }
    var warnings = missing.map { "missing: \(name($0))" }
    if !lost.isEmpty { warnings.append("\(text(of: lost)): what was there only is lost") }
    if !superblock.replicasCoverUserData {
      warnings.append(
        "format 1.36 and later: whether file data is lost with them is known when it is read")
    }
    return warnings
  }

  private var scope: String {
    superblock.replicasCoverUserData ? "that the volume holds" : "but perhaps file data"
  }

  private func has(_ index: Int) -> Bool { isThere.indices.contains(index) && isThere[index] }

  private func head(_ count: Int) -> String {
    let total = members.count(where: \.isAlive)
    return "volume \(superblock.userUUID) has \(total) devices, and \(count) "
      + (count == 1 ? "is missing" : "are missing")
  }

  /// As in `member 1, label ssd.fast, device 0123...`.
  private func name(_ index: Int) -> String {
    var text = "member \(index)"
    if let group = members[index].groupIndex,
      let label = superblock.section(of: DiskGroupsSection.self)?.path(of: group)
    {
      text += ", label \(label)"
    }
    text += ", device UUID \(members[index].uuid)"
    let lastMount = members[index].lastMount
    if lastMount != 0 { text += ", last mounted \(VolumeFormatText.date(lastMount))" }
    return text
  }

  /// Replicas entries that cannot be read with the devices that are there.
  private var lostEntries: [ReplicasEntry] {
    superblock.replicas.filter { entry in
      guard entry.dataType != .cached else { return false }
      let there = entry.devices.count { has(Int($0)) }
      let failed = entry.devices.count { device in
        let index = Int(device)
        guard members.indices.contains(index), members[index].isAlive else { return true }
        return !has(index) && members[index].state == .failed
      }
      if there + failed >= entry.devices.count { return false }
      return there < Int(entry.requiredCount)
    }
  }

  private func text(of lost: [ReplicasEntry]) -> String {
    let parts = lost.prefix(4).map { entry in
      "\(entry.dataType) on devices \(entry.devices.map(String.init).joined(separator: ", ")) "
        + "(\(entry.requiredCount) needed, \(entry.devices.count { has(Int($0)) }) there)"
    }
    let more = lost.count > 4 ? " and \(lost.count - 4) more" : ""
    return "not enough devices for \(parts.joined(separator: ", "))\(more)"
  }
}
