// SPDX-License-Identifier: GPL-2.0
// Names in directories: found, put in, taken out.
//
// How it works
//   1. A `DirectoryState` is a directory as a transaction found it. Who changes names in it has it
//      locked with intent, and writes its inode: so names of one directory change one after the
//      other.
//   2. A subvolume's name is not hidden in its snapshot but removed where it stands: there is one
//      such key for a subvolume, whatever the snapshots.
// Invariants
//   (1) In a directory that is going, or gone, no name is made.
// Source: dirent.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// A directory as a transaction found it.
struct DirectoryState {
  let id: FileID
  let snapshot: UInt32
  var inode: Inode
  let hash: NameHash

  var table: HashTable {
    HashTable(btree: .dirents, type: .dirent, inode: id.inode, snapshot: snapshot)
  }
}

/// A name where it stands.
struct FoundName {
  /// The key's: an ancestor's snapshot, perhaps.
  let position: BPos
  let target: Dirent.Target
  let type: UInt8
}

/// What may be the name of something.
enum FileName {
  /// Bytes of a name that is made: what readdir(3) has room for. The driver takes twice as many.
  static let maxByteCount = 255

  /// - Throws: `.nameTooLong`; `.invalid` for no name, `.` and `..`, and for a slash or a zero in
  ///   it.
  static func check(_ name: [UInt8]) throws(TransactionError) {
    guard name.count <= maxByteCount else { throw .failed(VolumeError(.nameTooLong)) }
    let dot = UInt8(ascii: ".")
    guard !name.isEmpty, name.count > 2 || name.contains(where: { $0 != dot }),
      !name.contains(where: { $0 == 0 || $0 == UInt8(ascii: "/") })
    else { throw .failed(VolumeError(.invalid)) }
  }
}

extension Transaction {
  /// A directory that a snapshot sees.
  ///
  /// - Throws: `.notFound`; `.notADirectory`; `.unsupported` for a casefolded one.
  func directory(
    _ id: FileID, _ snapshot: UInt32, _ mode: LockMode
  ) throws(TransactionError) -> DirectoryState {
    let inode = try inode(id.inode, snapshot, mode)
    guard inode.isDirectory else { throw .failed(VolumeError(.notADirectory)) }
    if inode.casefold > 1 {
      throw .failed(
        VolumeError(.unsupported, "directory \(id.inode) is casefolded: it is only read"))
    }
    return DirectoryState(id: id, snapshot: snapshot, inode: inode, hash: NameHash(inode))
  }

  /// A directory in which names are to be changed.
  ///
  /// - Throws: as `directory`; `.readOnly`; `.notFound` for one that is removed; `.notPermitted`
  ///   for one that is immutable.
  func directoryToChange(_ id: FileID) throws(TransactionError) -> DirectoryState {
    let found = try directory(id, snapshotToChange(id.subvolume), .intent)
    guard !found.inode.flags.contains(.unlinked) else { throw .failed(VolumeError(.notFound)) }
    guard !found.inode.flags.contains(.immutable) else { throw .failed(VolumeError(.notPermitted)) }
    return found
  }

  // MARK: - Names

  /// Looks for a name; where it is not there, for where it goes.
  ///
  /// - Parameter vacated: The offset of a name that the same transaction takes out.
  func search(
    _ name: [UInt8], in directory: DirectoryState, _ mode: LockMode,
    vacated: UInt64? = nil
  ) throws(TransactionError) -> HashPlace<FoundName> {
    let subvolume = directory.id.subvolume
    return try search(
      directory.table, from: directory.hash.dirent(name.span), mode, vacated: vacated
    ) { (found) throws(TransactionError) in
      let position = found.key.position
      return try found.decoded { (value) throws(FormatError) in
        let dirent = try Dirent(decoding: value)
        if case .subvolume(_, let parent) = dirent.target, parent != subvolume {
          return .invisible
        }
        guard dirent.lookupName.elementsEqual(name) else { return .other }
        return .found(FoundName(position: position, target: dirent.target, type: dirent.type))
      }
    }
  }

  /// A name in a directory.
  ///
  /// - Throws: `.notFound`.
  func name(
    _ name: [UInt8], in directory: DirectoryState, _ mode: LockMode
  ) throws(TransactionError) -> FoundName {
    guard case .found(let found) = try search(name, in: directory, mode) else {
      throw .failed(VolumeError(.notFound))
    }
    return found
  }

  /// Where a new name goes.
  ///
  /// - Throws: `.exists`.
  func place(
    for name: [UInt8], in directory: DirectoryState
  ) throws(TransactionError) -> UInt64 {
    guard case .free(let offset) = try search(name, in: directory, .intent) else {
      throw .failed(VolumeError(.exists))
    }
    return offset
  }

  /// What a name leads to.
  ///
  /// - Throws: `.notFound` for a subvolume that is not there.
  func fileID(
    of target: Dirent.Target, in subvolume: UInt32
  ) throws(TransactionError) -> FileID {
    switch target {
    case .inode(let number): FileID(subvolume: subvolume, inode: number)
    case .subvolume(let child, _): FileID(subvolume: child, inode: try self.subvolume(child).inode)
    }
  }

  /// Puts a name at an offset, over whatever is there.
  func put(
    _ name: [UInt8], _ target: Dirent.Target, type: UInt8, at offset: UInt64,
    in directory: DirectoryState
  ) throws(TransactionError) {
    do throws(FormatError) {
      try put(
        .dirents, .dirent, BPos(directory.id.inode, offset, directory.snapshot),
        Dirent.encodedU64s(nameByteCount: name.count)
      ) { (value) throws(FormatError) in
        _ = try Dirent.encode(target: target, type: type, name: name.rawBytes, into: &value)
      }
    } catch {
      throw .failed(VolumeError(error))
    }
  }

  /// Takes a name out.
  func remove(
    _ found: FoundName, from directory: DirectoryState
  ) throws(TransactionError) {
    try retire(found, in: directory)
    let isSubvolume = if case .subvolume = found.target { true } else { false }
    let hash = directory.hash
    try remove(
      from: directory.table, at: found.position.offset,
      isInherited: !isSubvolume && found.position.snapshot != directory.snapshot
    ) { (key) throws(TransactionError) in
      try key.decoded { (value) throws(FormatError) in
        hash.dirent(try Dirent(decoding: value).lookupName)
      }
    }
  }

  /// Removes a subvolume's name where it stands, if that is in an ancestor's snapshot: it leads to
  /// the subvolume from nowhere else. Others that descend from there may have names behind it.
  func retire(
    _ found: FoundName, in directory: DirectoryState
  ) throws(TransactionError) {
    guard case .subvolume = found.target, found.position.snapshot != directory.snapshot else {
      return
    }
    let behind = BPos(found.position.inode, found.position.offset &+ 1)
    let passing = try next(
      .dirents, from: behind, upTo: BPos(behind.inode, behind.offset, .max))
    if behind.offset > 0, passing != nil {
      update(.dirents, BKey(type: .hashWhiteout, position: found.position), RawSpan())
    } else {
      try deleteVisible(.dirents, found.position, isInherited: false)
    }
  }

  /// Whether a directory has no names in it; hash_whiteouts are none.
  func isEmpty(
    _ directory: UInt64, subvolume: UInt32, _ snapshot: UInt32
  ) throws(TransactionError) -> Bool {
    var walk = SnapshotWalk(.dirents, directory, from: 0, snapshot: snapshot)
    while let found = try next(&walk) {
      guard found.key.type == .dirent else { continue }
      let counts = try found.decoded { (value) throws(FormatError) in
        if case .subvolume(_, let parent) = try Dirent(decoding: value).target {
          return parent == subvolume
        }
        return true
      }
      if counts { return false }
    }
    return true
  }
}
