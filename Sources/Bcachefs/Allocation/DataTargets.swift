// SPDX-License-Identifier: GPL-2.0
// Which members a target names, and what of an extent is not where or how its options want it.
// Source: disk_groups.c (bch2_target_to_mask), extents.c (__bch2_bkey_sectors_need_rebalance).

internal import BcachefsFormat
internal import BcachefsSupport

/// The targets of a volume, as sets of members: bit n stands for member n.
struct DataTargets: Sendable {
  private let labels: [UInt64]
  /// Members that user data may be written to.
  private let writable: UInt64

  init(_ media: VolumeMedia) {
    let members = media.superblock.members
    let section = media.superblock.section(of: DiskGroupsSection.self)
    labels = (0..<(section?.groups.count ?? 0)).map { group in
      let closure = section?.closure(of: group) ?? []
      return members.indices.prefix(64).reduce(0) { mask, index in
        guard let own = members[index].groupIndex, closure.contains(own) else { return mask }
        return mask | 1 << UInt64(index)
      }
    }
    writable = members.indices.prefix(64).reduce(0) { mask, index in
      guard members[index].isAlive, members[index].state == .rw,
        members[index].dataAllowed.contains(.user), media.devices.indices.contains(index),
        media.devices[index] != nil
      else { return mask }
      return mask | 1 << UInt64(index)
    }
  }

  /// The members of a target; all for none.
  func members(of target: DiskTarget) -> UInt64 {
    switch target.kind {
    case .none: .max
    case .device(let index): index < 64 ? 1 << UInt64(index) : 0
    case .label(let index): labels.indices.contains(index) ? labels[index] : 0
    }
  }

  /// Sectors of an extent that are to be moved or compressed differently.
  func sectorsToRebalance(_ entries: ExtentEntries, _ wish: ExtentRebalance) -> Int64 {
    var sectors: Int64 = 0
    if wish.compression != 0 {
      let wanted = CompressionOption(rawValue: wish.compression).codec?.formatType ?? .none
      var pointers = entries.pointers
      while let pointer = pointers.next() {
        if pointer.crc.compressionType == CompressionType.incompressible.rawValue
          || pointer.ptr.isUnwritten
        {
          sectors = 0
          break
        }
        if !pointer.ptr.isCached, pointer.crc.compressionType != wanted.rawValue {
          sectors += Int64(pointer.crc.compressedSize)
        }
      }
    }
    let target = DiskTarget(rawValue: wish.target)
    guard target != .none, members(of: target) & writable != 0 else { return sectors }
    var pointers = entries.pointers
    while let pointer = pointers.next() {
      let device = UInt64(pointer.ptr.device)
      if !pointer.ptr.isCached, device > 63 || members(of: target) >> device & 1 == 0 {
        sectors += Int64(pointer.crc.compressedSize)
      }
    }
    return sectors
  }
}
