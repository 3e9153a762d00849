// SPDX-License-Identifier: GPL-2.0
// Room on the volume, and how those who write are told that there is none.
//
// How it works
//   1. A kernel that writes back when it wants takes what it is given: that the volume is full
//      shows when it writes back, and programs hear of it when they close a file, or never.
//   2. But it asks for the attributes of a file before each write, if it does not know them, and
//      names the handle then. So where room is short attributes are not kept, and who has a file
//      open for writing alone gets as an answer what the write will meet: that all which the kernel
//      has of the file is written, and whether there is room for more.
//   3. Who has it open for reading, too, hears of it at close and fsync: a read asks in the same
//      words.
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

  /// Below this, or half of a volume that is small, room counts as short. The kernel keeps less
  /// than that at a time.
  private static var shortBytes: UInt64 { 1 << 30 }
  /// Below this there is none.
  private static var leastBytes: UInt64 { 2 << 20 }

  /// How a file is open, for its handle.
  static func handle(_ flags: Int32) -> UInt64 {
    flags & O_ACCMODE == O_WRONLY ? writesOnly : 0
  }

  /// Looks how much room there is.
  func noteRoom() {
    let isShort = system.availableBytes < min(Self.shortBytes, system.capacityBytes / 2)
    guard isShort != isRoomShort.load(ordering: .relaxed) else { return }
    isRoomShort.store(isShort, ordering: .relaxed)
    if isShort { writers.forgetAttributes() }
  }

  /// How long the kernel may keep a file's attributes, in seconds. How many sectors it takes shows
  /// when all of it is written.
  func attributesTimeout(of file: FileID) -> Double {
    if isRoomShort.load(ordering: .relaxed) { return 0 }
    return system.isWritten(file) ? fuse_entry_param.timeoutSeconds : 1
  }

  /// Whether who asks for attributes of a file is about to write to it in vain.
  func isOutOfRoom(_ node: UInt64, handle: UInt64?) -> Bool {
    guard handle == Self.writesOnly, isRoomShort.load(ordering: .relaxed) else { return false }
    writers.writeBack(node, from: 0)
    guard system.availableBytes < Self.leastBytes else { return false }
    // Blocks that are not written yet have a promise beside the room of those they overwrite.
    system.writeOutAll()
    return system.availableBytes < Self.leastBytes
  }
}
