// SPDX-License-Identifier: GPL-2.0
// Room on the volume and within quotas, and how those who write are told that there is none.
//
// How it works
//   1. A kernel that writes back when it wants takes what it is given: that the volume is full
//      shows when it writes back, and programs hear of it when they close a file, or never.
//   2. But it asks for the attributes of a file before each write, if it does not know them, and
//      names the handle then. So where room is short attributes are not kept, and who has a file
//      open for writing alone gets as an answer what the write will meet: that all which the kernel
//      has of the file is written, and whether there is room for more.
//   3. Who has it open for reading, too, is asked for in the same words when he reads. So he hears
//      of it only when something that was written back was lost: once, and at close and fsync.
//   4. With quotas it is the same for each file, by what its owner has left. What the kernel writes
//      back it does not say for whom: so root's privilege goes by who opened the file, and a write
//      of more than is left is only found out by the next one, or at close. Where nothing is left
//      who would overwrite what is there is refused, too: the kernel does not say where it writes.
// Invariants
//   (1) With room for `shortBytes` nothing of this is done.

internal import Bcachefs
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

extension FileServer {
  /// What handles stand for.
  private static var writesOnly: UInt64 { 1 }
  /// Root has it open: limits of quotas do not count.
  private static var isExempt: UInt64 { 2 }
  private static var readsAndWrites: UInt64 { 4 }

  /// Below this, or half of a volume that is small, room counts as short. The kernel keeps less
  /// than that at a time.
  private static var shortBytes: UInt64 { 1 << 30 }
  /// Below this there is none.
  private static var leastBytes: UInt64 { 2 << 20 }

  /// How a file is open, and by whom, for its handle.
  static func handle(_ flags: Int32, _ request: Request) -> UInt64 {
    let access =
      switch flags & O_ACCMODE {
      case O_WRONLY: writesOnly
      case O_RDWR: readsAndWrites
      default: UInt64(0)
      }
    return access | (request.isFromRoot ? isExempt : 0)
  }

  /// What quotas say to what is written through a handle.
  static func quotaRule(_ handle: UInt64) -> QuotaRule {
    handle & isExempt != 0 ? .exempt : .enforced
  }

  /// Looks how much room there is.
  func noteRoom() {
    let isShort = system.availableBytes < min(Self.shortBytes, system.capacityBytes / 2)
    guard isShort != isRoomShort.load(ordering: .relaxed) else { return }
    isRoomShort.store(isShort, ordering: .relaxed)
    if isShort { writers.forgetAttributes() }
  }

  /// Looks how much the owner of a file that is open for writing has left.
  func noteQuota(_ node: UInt64, _ file: FileID) {
    guard system.hasQuotas, let attributes = try? system.attributes(of: file),
      system.quotaRoom(of: attributes) < Self.shortBytes
    else { return }
    writers.forgetAttributesOnce(of: node)
  }

  /// How long the kernel may keep attributes of a file, in seconds. How many sectors it takes shows
  /// when all of it is written.
  func timeout(of attributes: FileAttributes) -> Double {
    let isShort =
      isRoomShort.load(ordering: .relaxed)
      || system.hasQuotas && system.quotaRoom(of: attributes) < Self.shortBytes
    if isShort { return 0 }
    return system.isWritten(attributes.id) ? fuse_entry_param.timeoutSeconds : 1
  }

  /// Why who asks for attributes of a file is about to write to it in vain, as an errno; nil where
  /// he is not.
  ///
  /// - Throws: as `FileSystem.attributes`.
  func whyOutOfRoom(
    _ node: UInt64, _ file: FileID, handle: UInt64?
  ) throws(VolumeError) -> Int32? {
    guard let handle, handle & (Self.writesOnly | Self.readsAndWrites) != 0 else { return nil }
    if let reason = writers.takeLoss(of: node) { return reason }
    guard handle & Self.writesOnly != 0 else { return nil }
    let isRoomShort = isRoomShort.load(ordering: .relaxed)
    var isLimited = false
    if system.hasQuotas, handle & Self.isExempt == 0 {
      isLimited = system.quotaRoom(of: try system.attributes(of: file)) < Self.shortBytes
    }
    guard isRoomShort || isLimited else { return nil }
    writers.writeBack(node, from: 0)
    if isRoomShort, system.availableBytes < Self.leastBytes {
      // Blocks that are not written yet have a promise beside the room of those they overwrite.
      system.writeOutAll()
      if system.availableBytes < Self.leastBytes { return ENOSPC }
    }
    guard isLimited else { return nil }
    let left = system.quotaRoom(of: try system.attributes(of: file))
    return left < UInt64(blockBytes) ? EDQUOT : nil
  }
}
