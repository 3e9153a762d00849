// SPDX-License-Identifier: GPL-2.0
// Which files somebody has open: those stay, though their last name goes.
//
// How it works
//   1. Each holder counts. Whoever takes a file's last name notes that here; the last holder to let
//      go then deletes the file, or, without any, whoever took the name.
//   2. While a file is deleted nobody can begin to hold it: who wants to waits, and then finds that
//      it is gone, or, where it got a name meanwhile, that it is not.
// Invariants
//   (1) Of all who could delete a file one does.
//   (2) A file is only deleted while nobody holds it.
// Locks: a shard's mutex is a leaf; one at a time. Who waits holds nothing.
// Source: fs.c (bch2_evict_inode, bch2_inode_or_descendents_is_open).

internal import BcachefsSupport
internal import Synchronization

final class OpenFiles: Sendable {
  private struct Entry {
    var holders: UInt64 = 0
    /// It lost its last name at some time.
    var wasUnlinked = false
    /// Somebody is deleting it.
    var isGoing = false
    /// It lost its last name while somebody looked whether it has one.
    var needsAnotherLook = false
  }

  private typealias Table = [FileID: Entry]

  private struct Shard: ~Copyable {
    let files = Mutex(Table())
    // No two of them stand in the same pair of cache lines.
    private let padding = InlineArray<16, UInt64>(repeating: 0)
  }

  private let shards = InlineArray<16, Shard> { _ in Shard() }
  private let waiting = Condition()

  private static func shard(of inode: UInt64) -> Int {
    Int(truncatingIfNeeded: (inode &* 0x9e37_79b9_7f4a_7c15) >> 60)
  }

  /// Holds a file; waits while it is deleted.
  func hold(_ id: FileID) {
    while true {
      let isHeld = shards[Self.shard(of: id.inode)].files.withLock { files in
        var entry = files[id] ?? Entry()
        guard !entry.isGoing else { return false }
        entry.holders += 1
        files[id] = entry
        return true
      }
      if isHeld { return }
      waiting.withLock { _ = waiting.wait(nanoseconds: 1_000_000) }
    }
  }

  /// Lets go of a file.
  ///
  /// - Parameter count: How often it was held.
  /// - Returns: Whether the caller has to delete it if it has no name, and then to call `finish`.
  func release(_ id: FileID, count: UInt64) -> Bool {
    shards[Self.shard(of: id.inode)].files.withLock { files in
      guard var entry = files[id] else { return false }
      invariant(entry.holders >= count, "a file is let go of as often as it was held")
      entry.holders -= count
      guard entry.holders == 0 else {
        files[id] = entry
        return false
      }
      guard entry.wasUnlinked else {
        files[id] = nil
        return false
      }
      entry.isGoing = true
      files[id] = entry
      return true
    }
  }

  /// Notes that a file lost its last name.
  ///
  /// - Returns: Whether nobody holds it: then as for `release`.
  func noteUnlinked(_ id: FileID) -> Bool {
    shards[Self.shard(of: id.inode)].files.withLock { files in
      var entry = files[id] ?? Entry()
      guard !entry.isGoing else {
        entry.needsAnotherLook = true
        files[id] = entry
        return false
      }
      entry.wasUnlinked = true
      entry.isGoing = entry.holders == 0
      files[id] = entry
      return entry.isGoing
    }
  }

  /// A file is deleted, or was not to be.
  ///
  /// - Returns: Whether it lost its last name meanwhile: then it has to be deleted once more.
  func finish(_ id: FileID) -> Bool {
    let isDone = shards[Self.shard(of: id.inode)].files.withLock { files in
      guard files[id]?.needsAnotherLook == true else {
        files[id] = nil
        return true
      }
      files[id]?.needsAnotherLook = false
      return false
    }
    if isDone { waiting.broadcast() }
    return !isDone
  }

  /// Files that lost their last name and are held all the same. Nobody holds them any more.
  func takeUnlinked() -> [FileID] {
    var result: [FileID] = []
    for index in 0..<shards.count {
      shards[index].files.withLock { files in
        result += files.filter(\.value.wasUnlinked).keys
        files.removeAll()
      }
    }
    return result
  }

  /// The subvolumes in which an inode is held.
  func subvolumes(of inode: UInt64) -> [UInt32] {
    shards[Self.shard(of: inode)].files.withLock { files in
      files.keys.filter { $0.inode == inode }.map(\.subvolume)
    }
  }
}
