// SPDX-License-Identifier: GPL-2.0
// What statfs(2) shows of a volume, as the driver counts it.
//
// Inodes have no table that could be full: as many are free as would fit into what is free at 64
// bytes each. Source: bch2_statfs (fs.c), avail_factor (buckets.h).

internal import Bcachefs
internal import BcachefsFormat
internal import CFUSE
internal import Glibc
internal import Synchronization

extension VolumeServer {
  /// The longest name (`BCH_NAME_MAX`).
  private static let maxNameBytes: UInt = 512
  private static let inodesPerSector: UInt64 = 8

  func getUsage(_ request: Request) {
    if let known = space.withLock({ $0 }) { return request.reply(known) }
    do throws(VolumeError) {
      let found = status(of: try volume.usage())
      space.withLock { $0 = found }
      request.reply(found)
    } catch {
      // What is free cannot be known; the rest can.
      log("accounting: \(error)")
      let capacity = volume.capacitySectors
      request.reply(status(of: VolumeUsage(capacitySectors: capacity, usedSectors: capacity)))
    }
  }

  private func status(of usage: VolumeUsage) -> statvfs {
    Self.status(of: usage, blockBytes: blockBytes)
  }

  /// What statfs shows of a volume with blocks of so many bytes.
  static func status(of usage: VolumeUsage, blockBytes: Int) -> statvfs {
    let free = usage.capacitySectors - min(usage.usedSectors, usage.capacitySectors)
    let sectorsPerBlock = UInt64(blockBytes / 512)
    var status = statvfs()
    status.f_bsize = UInt(blockBytes)
    status.f_frsize = UInt(blockBytes)
    status.f_blocks = UInt(usage.capacitySectors / sectorsPerBlock)
    status.f_bfree = UInt(free / sectorsPerBlock)
    // One in 65 is kept back for extents that are split.
    status.f_bavail = UInt((free / 65 * 64 + free % 65 * 64 / 65) / sectorsPerBlock)
    let (freeInodes, overflow) = free.multipliedReportingOverflow(by: Self.inodesPerSector)
    let spare = overflow ? .max >> 1 : freeInodes
    status.f_ffree = UInt(spare)
    status.f_favail = UInt(spare)
    let (inodes, carry) = spare.addingReportingOverflow(usage.inodeCount)
    status.f_files = UInt(carry ? .max : inodes)
    status.f_namemax = Self.maxNameBytes
    return status
  }
}
