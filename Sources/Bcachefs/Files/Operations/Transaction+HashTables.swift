// SPDX-License-Identifier: GPL-2.0
// Names of directories and of attributes in their hash tables, as one snapshot sees them.
//
// How it works
//   1. A key stands at the hash of its name, or, where that was taken, at the first place behind it
//      that was not. So a search goes from place to place until it comes to one where nothing is.
//   2. Who removes a key that others behind it were moved on by leaves a `hash_whiteout`: a place
//      that is free, and that searches go on behind. Where no other key needs the place it becomes
//      empty again.
//   3. A new key goes to the first free place that the search for its own name passed.
//   4. The name of a subvolume counts only in the subvolume that it was made in. In snapshots of
//      that one its place is free, and a search goes on.
// Invariants
//   (1) Between a key's hash and its place each place has a key or a hash_whiteout.
//   (2) Of one name there is one key.
// Locks: a search that is to change something locks with intent all that it passes: nobody else
// puts the same name in before the commit.
// Source: str_hash.h.

internal import BcachefsFormat
internal import BcachefsSupport

/// A hash table in a btree: the names of a directory, or of an inode's attributes.
struct HashTable {
  let btree: BTreeID
  /// Of the keys that hold names.
  let type: BKeyType
  let inode: UInt64
  let snapshot: UInt32
}

/// What a search of a hash table thinks of a key.
enum HashMatch<Found> {
  case found(Found)
  case other
  /// It counts as nothing here, though its place is no hole.
  case invisible
}

/// Where a search of a hash table ended.
enum HashPlace<Found> {
  case found(Found)
  /// The offset at which what was looked for can be put in.
  case free(UInt64)
}

extension Transaction {
  /// Looks for a name from its hash on.
  ///
  /// - Parameters:
  ///   - vacated: A place whose key goes away in the same transaction: it counts as free.
  ///   - match: Is asked of each key with a name that is passed.
  /// - Throws: `.noSpace` where the table ends before there is a free place.
  @inline(__always)
  func search<Found>(
    _ table: HashTable, from hash: UInt64, _ mode: LockMode, vacated: UInt64? = nil,
    _ match: (KeyView) throws(TransactionError) -> HashMatch<Found>
  ) throws(TransactionError) -> HashPlace<Found> {
    var offset = hash
    var free: UInt64?
    while let key = try keySeen(table, at: offset, mode) {
      if key.key.type == table.type {
        switch try match(key) {
        case .found(let found): return .found(found)
        case .other: if vacated == offset, free == nil { free = offset }
        case .invisible: if free == nil { free = offset }
        }
      } else if key.key.type == .hashWhiteout {
        if free == nil { free = offset }
      } else {
        break
      }
      guard offset < .max else {
        guard let free else { throw .failed(VolumeError(.noSpace)) }
        return .free(free)
      }
      offset += 1
    }
    return .free(free ?? offset)
  }

  /// Removes the key at a place, and leaves a hash_whiteout where others need one.
  ///
  /// - Parameters:
  ///   - isInherited: The key is an ancestor's.
  ///   - hash: Of a key with a name.
  func remove(
    from table: HashTable, at offset: UInt64, isInherited: Bool,
    hash: (KeyView) throws(TransactionError) -> UInt64
  ) throws(TransactionError) {
    let position = BPos(table.inode, offset, table.snapshot)
    if try isPassed(table, offset, hash) {
      update(table.btree, BKey(type: .hashWhiteout, position: position), RawSpan())
    } else {
      try deleteVisible(table.btree, position, isInherited: isInherited)
    }
  }

  /// Whether a key behind a place would not be found if there were nothing at it.
  private func isPassed(
    _ table: HashTable, _ offset: UInt64, _ hash: (KeyView) throws(TransactionError) -> UInt64
  ) throws(TransactionError) -> Bool {
    var behind = offset
    while behind < .max {
      behind += 1
      guard let key = try keySeen(table, at: behind, .intent) else { return false }
      if key.key.type == table.type {
        if try hash(key) <= offset { return true }
      } else if key.key.type != .hashWhiteout {
        return false
      }
    }
    return false
  }

  /// The key that the table's snapshot sees at an offset; whiteouts hide, and are nothing.
  @inline(__always)
  private func keySeen(
    _ table: HashTable, at offset: UInt64, _ mode: LockMode
  ) throws(TransactionError) -> KeyView? {
    var from = BPos(table.inode, offset, table.snapshot) as BPos?
    while let start = from,
      let found = try next(table.btree, from: start, upTo: BPos(table.inode, offset, .max), mode)
    {
      if isAncestor(found.key.position.snapshot, of: table.snapshot) {
        return found.key.isWhiteout ? nil : found
      }
      from = found.key.position.successor
    }
    return nil
  }
}
