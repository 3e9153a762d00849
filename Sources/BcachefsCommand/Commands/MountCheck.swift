// SPDX-License-Identifier: GPL-2.0
// mount -o fsck: a volume is checked before it is mounted.
//
// How it works
//   1. The check is that of fsck -n, on the volume as it is with its journal: nothing is written.
//      What it finds is said, at most ten times for each kind.
//   2. Nothing can be repaired yet. So a volume with errors is mounted for changes only where
//      fix_errors=no says that it shall be as it is; and the findings are counted in its superblock
//      then. A mount that changes nothing shows it in any case.

internal import Bcachefs
internal import BcachefsFUSE
internal import BcachefsFormat

enum MountCheck {
  private static let saidMax = 10

  /// Checks a volume, if the options ask for it.
  ///
  /// - Parameter log: Takes the findings.
  /// - Returns: how many there are of each kind.
  /// - Throws: `.corrupt` where they stand against a mount.
  static func run(
    _ volume: Volume, _ options: MountOptions, log: @escaping (String) -> Void
  ) throws(VolumeError) -> [FsckErrorID: Int] {
    guard options.volumeOptions.isOn(.fsck) else { return [:] }
    var seen: [FsckErrorID: Int] = [:]
    let bar = ProgressBar(isWanted: true)
    defer { bar.finish() }
    var events = CheckEvents()
    events.progress = { bar.show("\($0)", $1) }
    events.finding = { finding in
      let count = seen[finding.id, default: 0] + 1
      seen[finding.id] = count
      guard count <= saidMax else { return }
      bar.finish()
      log("\(finding.text), not fixing (\(finding.id))")
    }
    let counts = try volume.check(CheckOptions(), events)
    guard !counts.isEmpty else { return [:] }
    let total = counts.values.reduce(0, +)
    log("the check found \(total) errors, of \(counts.count) kinds")
    guard options.isReadOnly || options.fixErrors == .no else {
      throw VolumeError(
        .corrupt,
        "\(total) errors, and this program cannot repair yet: -o ro shows what is there, "
          + "-o fix_errors=no mounts it as it is, and the driver's own fsck repairs")
    }
    return counts
  }
}
