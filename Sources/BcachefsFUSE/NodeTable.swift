// SPDX-License-Identifier: GPL-2.0
// Numbers for files: the 64 bits that the kernel calls a file by, and those that people see.
//
// How it works
//   1. A file is a subvolume (32 bits) and an inode number (64 bits). Where the subvolume has 15
//      bits and the inode 48, which is nearly always, both stand in the node id: nothing is
//      remembered.
//   2. All others get a number with bit 63 from a table, which counts what the kernel knows of
//      them; the last forget takes them out.
//   3. The mount's root is always 1.
// Invariants
//   (1) Two files never have one node id at a time. No encoded id is 0 or 1: subvolumes count from
//       1.
//   (2) The table holds no more than the kernel knows.
// Locks: the table's mutex, which is a leaf.

internal import Bcachefs
internal import Synchronization

final class NodeTable: Sendable {
  private struct Node {
    let file: FileID
    var lookups: UInt64
  }

  private struct State {
    var nodes: [UInt64: Node] = [:]
    var ids: [FileID: UInt64] = [:]
    var next: UInt64 = 1 << 63
  }

  static let rootID: UInt64 = 1
  private static let inodeBits: UInt64 = 48
  private static let subvolumeLimit: UInt32 = 1 << 15

  private let root: FileID
  private let state = Mutex(State())

  init(root: FileID) { self.root = root }

  /// Both in one number, if they fit.
  static func encoded(_ file: FileID) -> UInt64? {
    guard file.subvolume > 0, file.subvolume < subvolumeLimit, file.inode >> inodeBits == 0 else {
      return nil
    }
    return UInt64(file.subvolume) << inodeBits | file.inode
  }

  /// The number that people see (`st_ino`): the inode's in the first subvolume, as with the driver.
  /// In others the driver shows it too, and programs that look for hard links or loops take a file
  /// and its snapshot for one; here the subvolume counts.
  static func visibleNumber(_ file: FileID) -> UInt64 {
    if file.subvolume == 1 { return file.inode }
    return encoded(file) ?? file.inode ^ UInt64(file.subvolume) &* 0x9e37_79b9_7f4a_7c15
  }

  /// The file of a node id; nil for one that the kernel cannot have.
  func file(_ id: UInt64) -> FileID? {
    if id == Self.rootID { return root }
    guard id >> 63 == 0 else { return state.withLock { $0.nodes[id]?.file } }
    guard id >> Self.inodeBits > 0 else { return nil }
    return FileID(
      subvolume: UInt32(id >> Self.inodeBits), inode: id & (1 << Self.inodeBits - 1))
  }

  /// A node id for the kernel to know, until it has forgotten it as often as it got it.
  func remember(_ file: FileID) -> UInt64 {
    if let id = Self.encoded(file) { return id }
    return state.withLock { state in
      if let id = state.ids[file] {
        state.nodes[id]?.lookups += 1
        return id
      }
      let id = state.next
      state.next += 1
      state.ids[file] = id
      state.nodes[id] = Node(file: file, lookups: 1)
      return id
    }
  }

  /// The kernel has let go of `count` of what `remember` gave it.
  func forget(_ id: UInt64, count: UInt64) {
    guard id >> 63 != 0 else { return }
    state.withLock { state in
      guard let node = state.nodes[id] else { return }
      if node.lookups > count {
        state.nodes[id]?.lookups -= count
      } else {
        state.nodes[id] = nil
        state.ids[node.file] = nil
      }
    }
  }

  /// How many files are in the table.
  var count: Int { state.withLock { $0.nodes.count } }
}
