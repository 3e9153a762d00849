// SPDX-License-Identifier: GPL-2.0
// Volumes made of a few keys of one's own: all of them stand in the journal, which readers lay over
// btrees that are empty.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

/// Keys for a volume with subvolume 1 in snapshot 100, whose root is inode 4096.
struct JournalKeys {
  static let snapshot: UInt32 = 100

  private var keys: [(btree: BTreeID, key: BKey, value: [UInt8])] = []

  /// - Parameter ancestors: Parents of snapshot 100, the nearest first, with their flags.
  init(ancestors: [(id: UInt32, flags: UInt32)] = []) throws {
    add(.subvolumes, .subvolume, BPos(0, 1), words: Subvolume.encodedU64s) {
      Subvolume(snapshot: Self.snapshot, inode: 4096).encode(into: &$0)
    }
    var (child, id, flags) = (UInt32(0), Self.snapshot, UInt32(2))
    for parent in ancestors + [(0, 0)] {
      var snapshot = Snapshot()
      snapshot.parent = parent.id
      snapshot.child0 = child
      snapshot.rawFlags = flags
      add(.snapshots, .snapshot, BPos(0, UInt64(id)), words: Snapshot.encodedU64s) {
        snapshot.encode(into: &$0)
      }
      (child, id, flags) = (id, parent.id, parent.flags)
    }
  }

  /// Adds a key whose value `encode` writes.
  mutating func add(
    _ btree: BTreeID, _ type: BKeyType, _ position: BPos, size: UInt32 = 0, words: Int,
    _ encode: (inout MutableRawSpan) throws -> Void
  ) rethrows {
    var value = [UInt8](repeating: 0, count: words * 8)
    var span = value.mutableRawBytes
    try encode(&span)
    add(btree, type, position, size: size, value)
  }

  mutating func add(
    _ btree: BTreeID, _ type: BKeyType, _ position: BPos, size: UInt32 = 0, _ value: [UInt8]
  ) {
    var key = BKey(type: type, position: position, valueU64s: value.count / 8)
    key.size = size
    keys.append((btree, key, value))
  }

  /// Adds an inode at its number.
  ///
  /// - Parameter newer: Fields behind those of 1.13, small ones.
  mutating func add(_ inode: Inode, newer: [UInt8] = []) {
    var inode = inode
    // Fields that are zero are only stored before others: this one says "off", as none would.
    if !newer.isEmpty { inode.nocow = 1 }
    var value = [UInt8](repeating: 0, count: Inode.maxEncodedU64s * 8)
    var span = value.mutableRawBytes
    inode.encode(into: &span)
    let words = inode.encodedU64s
    guard !newer.isEmpty else {
      value.removeSubrange((words * 8)...)
      return add(.inodes, .inodeV3, BPos(0, inode.number, Self.snapshot), value)
    }
    // The last field's byte is the last that is not zero.
    var end = words * 8
    while value[end - 1] == 0 { end -= 1 }
    for field in newer {
      value[end] = field << 1
      end += 1
    }
    value[19] = UInt8(24 + newer.count)
    value.removeSubrange(((end + 7) / 8 * 8)...)
    add(.inodes, .inodeV3, BPos(0, inode.number, Self.snapshot), value)
  }

  /// Adds an inode as another snapshot has it.
  mutating func addCopy(of inode: Inode, snapshot: UInt32) {
    add(.inodes, .inodeV3, BPos(0, inode.number, snapshot), words: inode.encodedU64s) {
      inode.encode(into: &$0)
    }
  }

  /// Adds a name at the place that `hash` gives it, of the folded name if there is one.
  mutating func add(
    _ name: String, folded: String = "", in directory: Inode, at place: UInt64, inode: UInt64
  ) throws {
    let words = Dirent.encodedU64s(
      nameByteCount: name.utf8.count, foldedByteCount: folded.utf8.count)
    let (name, folded) = (Array(name.utf8), Array(folded.utf8))
    try add(.dirents, .dirent, BPos(directory.number, place, Self.snapshot), words: words) {
      _ = try Dirent.encode(
        target: .inode(inode), type: 8, name: name.rawBytes, foldedName: folded.rawBytes, into: &$0)
    }
  }

  /// The volume that these keys are.
  func volume(_ change: (inout Superblock) -> Void = { _ in }) throws -> Volume {
    let journal = try JournalOnlyVolume()
    change(&journal.superblock)
    var sequence: UInt64 = 1
    for key in keys {
      let bytes = try journal.encode(sequence, lastSeq: 1) {
        try $0.appendKey(
          .btreeKeys, btree: key.btree, level: 0, key.key, value: key.value.rawBytes)
      }
      try journal.append(bytes)
      sequence += 1
    }
    return try Volume(media: try journal.media())
  }
}

extension Inode {
  /// A directory or file for tests.
  static func sample(_ number: UInt64, mode: UInt16, size: UInt64 = 0) -> Inode {
    var inode = Inode()
    inode.number = number
    inode.mode = mode
    inode.size = size
    inode.hashSeed = 0x1234_5678_9abc_def0 ^ number
    inode.stringHash = StringHashType.siphash.rawValue
    return inode
  }
}
