// SPDX-License-Identifier: GPL-2.0
// Ways to damage a volume by its own transactions: what each test of the check starts from.

internal import BcachefsFormat
internal import BcachefsSupport

@testable internal import Bcachefs

/// A way to contradict what else is on a volume.
struct MetadataDamage: Sendable, CustomStringConvertible {
  let name: String
  let fixture: String
  /// What the check must find.
  let expected: FsckErrorID
  /// What else it may find, as it follows from that; nil for anything.
  var also: Set<FsckErrorID>?
  /// Whether the driver looks for it at all, and goes on far enough to see it.
  var isKnownToDriver = true
  let apply: @Sendable (Transaction) throws(TransactionError) -> Bool

  var description: String { name }
}

extension KeyView {
  var alloc: AllocV4? { withValue { try? AllocV4(key: key, value: $0) } }

  var snapshot: Snapshot? { withValue { try? Snapshot(decoding: $0) } }

  var isOfExtent: Bool {
    withValue { (try? Backpointer(decoding: $0))?.level == 0 }
  }

  /// Begins with a pointer.
  var isPlain: Bool { withValue { $0[LEField<UInt64>(0)] & 1 != 0 } }
}

extension Transaction {
  /// Damages the first key of a kind.
  ///
  /// - Returns: whether there is one.
  func damage(
    _ btree: BTreeID, where isWanted: (KeyView) -> Bool, _ body: (Transaction, KeyView) -> Void
  ) throws(TransactionError) -> Bool {
    var walk = KeyWalk(btree, from: .min, mode: .intent)
    while let found = try next(&walk) {
      guard isWanted(found) else { continue }
      body(self, found)
      return true
    }
    return false
  }

  /// Puts a copy of a key somewhere, changed; nothing follows from it.
  func copy(
    _ btree: BTreeID, _ found: KeyView, to position: BPos,
    _ change: (inout MutableRawSpan) -> Void
  ) {
    var key = found.key
    key.position = position
    found.withValue { update(btree, key, $0, flags: .noTriggers) }
    guard var words = ownKey(btree, from: position, upTo: position)?.words else { return }
    change(&words)
  }

  func changeBucket(_ found: KeyView, _ change: (inout AllocV4) -> Void) {
    guard var alloc = found.alloc else { return }
    change(&alloc)
    put(alloc, at: found.key.position, flags: .noTriggers)
  }
}

// MARK: - Files

extension Transaction {
  /// Changes an inode; nothing follows from it.
  ///
  /// - Returns: whether it is there.
  func change(
    _ number: UInt64, in snapshot: UInt32 = .max, _ change: (inout Inode) -> Void
  ) throws(TransactionError) -> Bool {
    guard let found = try lookup(.inodes, BPos(0, number, snapshot)), found.key.type.isInode else {
      return false
    }
    var inode = try Self.inode(found)
    change(&inode)
    put(inode)
    return true
  }

  /// Puts an inode where it says it is; nothing follows from it.
  func put(_ inode: Inode) {
    put(
      .inodes, .inodeV3, BPos(0, inode.number, inode.snapshot), inode.encodedU64s,
      flags: .noTriggers
    ) { inode.encode(into: &$0) }
  }

  /// Puts an inode that was not there, and counts it.
  func add(_ inode: Inode) {
    put(inode)
    account(.nrInodes, [1])
  }

  /// Changes a subvolume; nothing follows from it.
  func changeSubvolume(
    _ id: UInt32, _ change: (inout Subvolume) -> Void
  ) throws(TransactionError) -> Bool {
    let position = BPos(0, UInt64(id))
    guard let found = try lookup(.subvolumes, position),
      var subvolume = found.withValue({ try? Subvolume(decoding: $0) })
    else { return false }
    change(&subvolume)
    put(.subvolumes, .subvolume, position, Subvolume.encodedU64s, flags: .noTriggers) {
      subvolume.encode(into: &$0)
    }
    return true
  }

  /// Where a name belongs in a directory.
  func place(
    of name: String, in directory: UInt64, snapshot: UInt32 = .max
  ) throws(TransactionError) -> UInt64? {
    guard let found = try lookup(.inodes, BPos(0, directory, snapshot)) else { return nil }
    return NameHash(try Self.inode(found)).dirent(Array(name.utf8).span)
  }

  /// Puts a name into a directory, at its place or elsewhere.
  func putName(
    _ name: String, in directory: UInt64, at place: UInt64? = nil, _ target: Dirent.Target,
    type: UInt8, snapshot: UInt32 = .max
  ) throws(TransactionError) -> Bool {
    let own = try self.place(of: name, in: directory, snapshot: snapshot)
    guard let offset = place ?? own else { return false }
    let bytes = Array(name.utf8)
    let u64s = Dirent.encodedU64s(nameByteCount: bytes.count)
    put(.dirents, .dirent, BPos(directory, offset, snapshot), u64s, flags: .noTriggers) {
      _ = try? Dirent.encode(target: target, type: type, name: bytes.rawBytes, into: &$0)
    }
    return true
  }

  /// Takes away the name that an inode knows of.
  func removeName(of number: UInt64) throws(TransactionError) -> Bool {
    guard let found = try lookup(.inodes, BPos(0, number, .max)) else { return false }
    let inode = try Self.inode(found)
    delete(.dirents, BPos(inode.directory, inode.directoryOffset, .max), flags: .noTriggers)
    return true
  }

  /// Promises a file eight sectors, with all that follows but for the file's own count.
  func reserve(_ number: UInt64, upTo end: UInt64, snapshot: UInt32 = .max) {
    var key = BKey(type: .reservation, position: BPos(number, end, snapshot), valueU64s: 1)
    key.size = 8
    let words = InlineArray<1, UInt64>(repeating: UInt64(1 << 32).littleEndian)
    unsafe update(.extents, key, words.span.bytes)
  }

  /// Puts a key without a value; nothing follows from it.
  func mark(_ btree: BTreeID, _ position: BPos) {
    update(btree, BKey(type: .set, position: position), RawSpan(), flags: .noTriggers)
  }
}

extension Inode {
  /// A file or directory that nothing else is known of.
  init(_ number: UInt64, mode: UInt16, snapshot: UInt32 = .max, flags: InodeFlags = []) {
    self.init()
    self.number = number
    self.snapshot = snapshot
    self.mode = mode
    stringHash = 3
    self.flags = flags
  }
}
