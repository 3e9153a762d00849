// SPDX-License-Identifier: GPL-2.0
// Devices to one volume: which superblock counts, who is a member, who is stale.
//
// How it works
//   1. Of all devices the superblock with the highest sequence number counts, then the one written
//      last. Each other device is judged by what that one says of it.
//   2. A superblock keeps for each member the sequence number of the last write that it took part
//      in. A device that is further than that was written without the others: split brain. One that
//      is as far was only absent since. One that lags by a single write was cut off by a crash
//      between two devices; one that lags by more is an old copy.
//   3. What the caller named and cannot be used is refused. What was only found (UUID=, LABEL=) and
//      was removed from the volume, or is an old copy, is left out with a warning.
// Invariants
//   (1) devices[i] is the device whose superblock names index i, with the UUID that the volume's
//       superblock has for member i.
//   (2) Volumes older than 1.4 have no member sequence numbers: theirs are not compared.
// Source: `bch2_dev_in_fs`, `bch2_fs_open` (super.c). Upstream accepts old copies and drops members
// of the other side of a split without a word to the caller.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct VolumeAssembly {
  /// The one that counts.
  let superblock: Superblock
  /// By member index.
  private(set) var devices: [BlockDevice?]
  private(set) var warnings: [String]

  /// The device that it was read from.
  private let authority: DeviceSuperblock
  /// Found by UUID or label: whoever does not fit may be left out.
  private let mayLeaveOut: Bool
  private let checksSplit: Bool
  private var taken: [Int: DeviceSuperblock]

  /// Matches devices to members.
  ///
  /// - Throws: `.foreignMember`, `.splitBrain`, `.notAVolume` for an empty list.
  init(
    _ found: [DeviceSuperblock], mayLeaveOut: Bool, options: VolumeOptions
  ) throws(VolumeError) {
    guard var best = found.first else { throw VolumeError(.notAVolume, "no device was named") }
    for device in found.dropFirst() where Self.isNewer(device.superblock, than: best.superblock) {
      best = device
    }
    authority = best
    superblock = best.superblock
    self.mayLeaveOut = mayLeaveOut
    checksSplit = !options.isOn(.noSplitbrainCheck)
    devices = [BlockDevice?](repeating: nil, count: superblock.members.count)
    warnings = found.flatMap(\.warnings)
    taken = [:]
    // The one that counts first: the others are compared with it.
    try add(best)
    for device in found where device.device !== best.device { try add(device) }
  }

  private static func isNewer(_ left: Superblock, than right: Superblock) -> Bool {
    (left.seq, left.writeTime) > (right.seq, right.writeTime)
  }

  private mutating func add(_ device: DeviceSuperblock) throws(VolumeError) {
    let index = Int(device.superblock.deviceIndex)
    guard try isMember(device) else { return }
    if let other = taken[index] {
      guard mayLeaveOut, other.superblock == device.superblock else {
        throw VolumeError(
          .foreignMember,
          "\(device.device.name) and \(other.device.name) are both member \(index) of volume "
            + "\(superblock.userUUID): one is a copy of the other; name only one of them")
      }
      warnings.append(
        "\(device.device.name) is the same as \(other.device.name), or a copy: not used")
      return
    }
    guard try isCurrent(device) else { return }
    taken[index] = device
    devices[index] = device.device
    warnAboutSize(device)
  }

  // MARK: Membership

  private mutating func isMember(_ device: DeviceSuperblock) throws(VolumeError) -> Bool {
    let own = device.superblock
    guard own.uuid == superblock.uuid else {
      throw VolumeError(
        .foreignMember,
        "\(device.device.name) belongs to volume \(own.userUUID) (internal UUID \(own.uuid)), but "
          + "\(authority.device.name) to volume \(superblock.userUUID) (internal UUID "
          + "\(superblock.uuid)); name devices of one volume only")
    }
    let index = Int(own.deviceIndex)
    let ownUUID = own.member(at: index)?.uuid ?? .zero
    guard devices.indices.contains(index), let member = superblock.member(at: index),
      member.isAlive
    else {
      return try leaveOut(
        "\(device.device.name) was member \(index) (\(ownUUID)) of volume \(superblock.userUUID), "
          + "and was removed from it, as \(authority.device.name) says; leave it out")
    }
    guard member.uuid == ownUUID else {
      return try leaveOut(
        "\(device.device.name) was member \(index) (\(ownUUID)) of volume \(superblock.userUUID), "
          + "but that is \(member.uuid) now, as \(authority.device.name) says: it was replaced; "
          + "leave it out, and name the device that took its place")
    }
    guard own.blockSizeSectors == superblock.blockSizeSectors else {
      return try leaveOut(
        "\(device.device.name) says that blocks have \(UInt64(own.blockSizeSectors) * 512) bytes, "
          + "\(authority.device.name) \(UInt64(superblock.blockSizeSectors) * 512); leave it out")
    }
    return true
  }

  private mutating func leaveOut(
    _ text: String, code: VolumeError.Code = .foreignMember
  ) throws(VolumeError) -> Bool {
    guard mayLeaveOut else { throw VolumeError(code, text) }
    warnings.append(text + " (it was)")
    return false
  }

  // MARK: Sequence numbers

  private mutating func isCurrent(_ device: DeviceSuperblock) throws(VolumeError) -> Bool {
    let own = device.superblock
    let name = device.device.name
    guard device.device !== authority.device, own.version >= .memberSeq,
      superblock.version >= .memberSeq
    else { return true }
    if own.seq == superblock.seq && own.writeTime != superblock.writeTime {
      try splitBrain(
        "\(name) and \(authority.device.name) were written apart from each other: both superblocks "
          + "are number \(own.seq), but of \(VolumeFormatText.date(superblock.writeTime)) on "
          + "\(authority.device.name) and of \(VolumeFormatText.date(own.writeTime)) on \(name)")
      return true
    }
    let known = superblock.member(at: Int(own.deviceIndex))?.seq ?? 0
    guard known != 0 else { return true }
    if known < own.seq {
      try splitBrain(
        "\(name) and \(authority.device.name) were written apart from each other: "
          + "\(authority.device.name) last saw superblock number \(known) on \(name), where number "
          + "\(own.seq) is now")
      return true
    }
    return try isFresh(device, known: known)
  }

  private mutating func isFresh(
    _ device: DeviceSuperblock, known: UInt64
  ) throws(VolumeError) -> Bool {
    let own = device.superblock
    let name = device.device.name
    if own.seq < known {
      if known - own.seq == 1 {
        warnings.append(
          "\(name): its superblock is number \(own.seq), one before the last: the volume was not "
            + "unmounted in order")
      } else if checksSplit {
        return try leaveOut(
          "\(name) is an old copy of member \(own.deviceIndex): its superblock is number "
            + "\(own.seq) "
            + "of \(VolumeFormatText.date(own.writeTime)), and number \(known) was written to "
            + "that member, "
            + "as \(authority.device.name) says; name the current device, or leave it out and open "
            + "the volume with the option degraded, or accept it with no_splitbrain_check")
      } else {
        warnings.append(
          "\(name) is an old copy of member \(own.deviceIndex); accepted as asked for")
      }
    } else if known < superblock.seq {
      warnings.append(
        "\(name) was absent when the volume was written last (superblock number \(known) of "
          + "\(superblock.seq)): what was written since is on the other devices only")
    }
    return true
  }

  private mutating func splitBrain(_ text: String) throws(VolumeError) {
    guard !checksSplit else {
      throw VolumeError(
        .splitBrain,
        text + "; decide for one side: leave the other out and open with the option degraded, or "
          + "accept both with no_splitbrain_check")
    }
    warnings.append(text + "; accepted as asked for")
  }

  private mutating func warnAboutSize(_ device: DeviceSuperblock) {
    guard let member = superblock.member(at: Int(device.superblock.deviceIndex)) else { return }
    let (sectors, overflow) = member.bucketCount.multipliedReportingOverflow(
      by: UInt64(member.bucketSizeSectors))
    guard overflow || sectors > device.device.byteCount / 512 else { return }
    warnings.append(
      "\(device.device.name) has \(device.device.byteCount) bytes, but member "
        + "\(device.superblock.deviceIndex) has \(member.bucketCount) buckets of "
        + "\(UInt64(member.bucketSizeSectors) * 512): what lies beyond the end cannot be read")
  }
}
