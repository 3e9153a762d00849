// SPDX-License-Identifier: GPL-2.0
// Names in directories, one by one and as lists.
//
// How it works
//   1. A name is looked for from its hash on, until it is found or a place is empty: collisions
//      were put into the places behind. Casefolded directories have the hash of the folded name.
//   2. A list walks all keys of the directory, in hash order; that is also the order readdir gives.
// Invariants
//   (1) A lookup stops at the first hole: its length is bounded by the longest run of collisions.
// Locks: none.
// Source: str_hash.h (bch2_hash_lookup), dirent.c.

internal import BcachefsFormat
internal import BcachefsSupport

struct DirectoryReader {
  private let forest: BTreeForest
  private let snapshot: UInt32
  private let table: SnapshotTable
  /// The subvolume that names of other subvolumes count in.
  private let subvolume: UInt32
  private let casefoldsByDefault: Bool

  /// - Parameter casefoldsByDefault: Whether directories are casefolded that do not say.
  init(
    _ forest: BTreeForest, subvolume: UInt32, snapshot: UInt32, table: SnapshotTable,
    casefoldsByDefault: Bool
  ) {
    self.casefoldsByDefault = casefoldsByDefault
    self.forest = forest
    self.subvolume = subvolume
    self.snapshot = snapshot
    self.table = table
  }

  /// A name in a directory.
  struct Entry: Sendable {
    let name: [UInt8]
    let target: Dirent.Target
    let type: UInt8
    /// Where readdir goes on behind this name.
    let nextOffset: UInt64
  }

  /// Calls `body` with the names of a directory from `offset` on; false ends the walk.
  ///
  /// - Parameter onLost: Told why names are missing, and the walk goes on; without it that is
  ///   thrown.
  func forEach(
    _ directory: Inode, from offset: UInt64, onLost: ((VolumeError) -> Void)? = nil,
    _ body: (Entry) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    var cursor = SnapshotCursor(forest, .dirents, snapshot: snapshot, table: table)
    cursor.seek(directory.number, offset)
    while true {
      let next: KeyReference?
      do throws(VolumeError) {
        next = try cursor.next()
      } catch {
        guard let onLost else { throw error }
        onLost(error)
        guard let end = cursor.skipUnreadable(), end.inode == directory.number else { return }
        continue
      }
      guard let found = next, found.key.position.inode == directory.number else { return }
      guard found.key.type == .dirent else { continue }
      let decoded: Entry?
      do throws(VolumeError) {
        decoded = try decode(found)
      } catch {
        guard let onLost else { throw error }
        onLost(error)
        continue
      }
      guard let entry = decoded else { continue }
      if try !body(entry) { return }
    }
  }

  /// The entry of a name, nil if there is none. In a casefolded directory any spelling will do.
  func lookup(_ directory: Inode, _ name: [UInt8]) throws(VolumeError) -> Entry? {
    let isFolded = directory.casefold > 0 ? directory.casefold > 1 : casefoldsByDefault
    guard isFolded, let folded = CaseFolding.fold(name), folded != name else {
      return try lookup(directory, key: name, spelled: name)
    }
    // Names that were made elsewhere than Linux makes them may stand under their own hash.
    if let found = try lookup(directory, key: folded, spelled: name) { return found }
    return try lookup(directory, key: name, spelled: name)
  }

  /// The entry that lookups know by `key`: of several the one spelled so, else the first.
  private func lookup(
    _ directory: Inode, key: [UInt8], spelled name: [UInt8]
  ) throws(VolumeError) -> Entry? {
    var place = NameHash(directory).dirent(key.span)
    var cursor = SnapshotCursor(forest, .dirents, snapshot: snapshot, table: table)
    cursor.seek(directory.number, place)
    var other: Entry?
    while let found = try cursor.next(), found.key.position.offset == place {
      if found.key.type == .dirent, let entry = try decode(found, knownAs: key) {
        if entry.name == name { return entry }
        other = other ?? entry
      }
      guard place < .max else { break }
      place += 1
    }
    return other
  }

  /// A dirent that counts here: names of subvolumes only count in the subvolume they were made in.
  ///
  /// - Parameter lookupName: Others than this one do not count, if it is given.
  private func decode(
    _ found: KeyReference, knownAs lookupName: [UInt8]? = nil
  ) throws(VolumeError) -> Entry? {
    do throws(FormatError) {
      return try found.withValue { (value) throws(FormatError) in
        let dirent = try Dirent(decoding: value)
        if let lookupName, !dirent.lookupName.elementsEqual(lookupName) { return nil }
        if case .subvolume(_, let parent) = dirent.target, parent != subvolume { return nil }
        return Entry(
          name: dirent.name.copiedBytes, target: dirent.target, type: dirent.type,
          nextOffset: found.key.position.offset.saturatingSuccessor)
      }
    } catch {
      throw VolumeError(error)
    }
  }
}

extension UInt64 {
  /// The number behind this one; the last one is its own.
  fileprivate var saturatingSuccessor: UInt64 { self == .max ? .max : self + 1 }
}
