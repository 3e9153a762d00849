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
    labels = (section?.groups ?? []).indices.map { group in
      Self.mask(section?.members(of: group, among: members) ?? [])
    }
    writable = Self.mask(
      members.indices.filter { index in
        members[index].isAlive && members[index].state == .rw
          && members[index].dataAllowed.contains(.user) && media.devices.indices.contains(index)
          && media.devices[index] != nil
      })
  }

  private static func mask(_ members: [Int]) -> UInt64 {
    members.reduce(0) { $1 < 64 ? $0 | 1 << UInt64($1) : $0 }
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
    let wanted = members(of: target)
    guard target != .none, wanted & writable != 0 else { return sectors }
    var pointers = entries.pointers
    while let pointer = pointers.next() {
      let device = UInt64(pointer.ptr.device)
      if !pointer.ptr.isCached, device > 63 || wanted >> device & 1 == 0 {
        sectors += Int64(pointer.crc.compressedSize)
      }
    }
    return sectors
  }
}
