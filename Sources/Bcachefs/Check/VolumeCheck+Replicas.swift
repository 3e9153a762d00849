// SPDX-License-Identifier: GPL-2.0
// Sets of devices: the superblock names those that something is on, and members exist that are
// counted.
// Source: disk_accounting.c (bch2_accounting_read, bch2_disk_accounting_validate_late).

internal import BcachefsFormat

extension VolumeCheck {
  func checkReplicasAreMarked() throws(VolumeError) {
    let marked = Set(
      volume.superblock.replicas.filter { $0.devices.count <= 16 }.map { entry in
        AccountingReplicas(
          dataType: entry.dataType.rawValue, required: entry.requiredCount,
          devices: entry.devices)
      })
    for count in try volume.accounting() {
      try step()
      switch count.key {
      case .replicas(let replicas):
        let missing = replicas.devices.first {
          $0 != Member.invalidDevice && media.member($0) == nil
        }
        if let missing {
          reportMissing(missing, count.key)
        } else if replicas.count > 0, !marked.contains(replicas) {
          report(
            .accounting_replicas_not_marked,
            "accounting not marked in superblock replicas\n  \(count.key)")
        }
      case .deviceDataType(let device, _):
        if media.member(device) == nil { reportMissing(device, count.key) }
      default: break
      }
    }
  }

  private func reportMissing(_ device: UInt8, _ key: AccountingKey) {
    report(
      .accounting_to_invalid_device,
      "accounting entry points to invalid device \(device)\n  \(key)")
  }
}
