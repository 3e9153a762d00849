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
    for count in try volume.accounting(skipsDamage: true) {
      try step()
      if let device = missingDevice(of: count.key) {
        report(
          .accounting_to_invalid_device,
          "accounting entry points to invalid device \(device)\n  \(count.key)")
      } else if case .replicas(let replicas) = count.key, replicas.count > 0,
        !marked.contains(replicas)
      {
        report(
          .accounting_replicas_not_marked,
          "accounting not marked in superblock replicas\n  \(count.key)")
      }
    }
  }

  /// A device that something is counted for, and that is no member.
  func missingDevice(of key: AccountingKey) -> UInt8? {
    switch key {
    case .replicas(let replicas):
      replicas.devices.first { $0 != Member.invalidDevice && media.member($0) == nil }
    case .deviceDataType(let device, _): media.member(device) == nil ? device : nil
    default: nil
    }
  }
}
