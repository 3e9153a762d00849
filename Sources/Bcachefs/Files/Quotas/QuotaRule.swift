// SPDX-License-Identifier: GPL-2.0
// Whose use is counted, and what a change is allowed to do.

internal import BcachefsFormat

/// What quotas say to a change of files.
public enum QuotaRule: Sendable {
  /// It is counted, whatever the limits are, and no grace period begins (the driver's
  /// `KEY_TYPE_QUOTA_NOCHECK`).
  case unchecked
  /// It may go over limits, as the driver lets whoever has CAP_SYS_RESOURCE; a grace period begins.
  case exempt
  /// A limit that would be exceeded refuses it: `.quotaExceeded`.
  case enforced
}

/// Who has to answer for a file: its user, group and project.
struct QuotaIDs: Hashable, Sendable {
  let user: UInt32
  let group: UInt32
  let project: UInt32

  init(user: UInt32, group: UInt32, project: UInt32) {
    (self.user, self.group, self.project) = (user, group, project)
  }

  /// Of an inode (`bch_qid`); it keeps its project plus one, and who is in none is in project 0.
  init(_ inode: Inode) {
    self.init(
      user: inode.uid, group: inode.gid, project: inode.project > 0 ? inode.project - 1 : 0)
  }

  subscript(type: QuotaType) -> UInt32 {
    switch type {
    case .usr: user
    case .grp: group
    default: project
    }
  }
}

extension QuotaType {
  /// The option that switches it on.
  var option: VolumeOption {
    switch self {
    case .usr: .usrquota
    case .grp: .grpquota
    default: .prjquota
    }
  }
}

/// By how much somebody's use changes.
struct QuotaChange {
  let type: QuotaType
  let id: UInt32
  var sectors: Int64
  var inodes: Int64
}

/// Sectors that were promised to what will be written to a file: they count as used until they are,
/// or are given back.
struct QuotaPromise: Sendable {
  /// Whose they are; of no matter while there are none.
  var ids = QuotaIDs(user: 0, group: 0, project: 0)
  var sectors: UInt64 = 0
}
