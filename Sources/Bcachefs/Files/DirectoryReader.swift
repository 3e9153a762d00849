// SPDX-License-Identifier: GPL-2.0
// Names: directories and extended attributes, by name and as lists.
//
// How it works
//   1. A name is looked for from its hash on, until it is found or a place is empty: collisions
//      were put into the places behind.
//   2. A list walks all keys of the inode, in hash order; that is also the order readdir gives.
// Invariants
//   (1) A lookup stops at the first hole: its length is bounded by the longest run of collisions.
// Locks: none.
// Source: str_hash.h (bch2_hash_lookup), dirent.c, xattr.c.

internal import BcachefsFormat
internal import BcachefsSupport

struct DirectoryReader {
  private let forest: BTreeForest
  private let snapshot: UInt32
  private let table: SnapshotTable
  /// The subvolume that names of other subvolumes count in.
  private let subvolume: UInt32

  init(_ forest: BTreeForest, subvolume: UInt32, snapshot: UInt32, table: SnapshotTable) {
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

  /// The entry of a name, nil if there is none.
  func lookup(_ directory: Inode, _ name: [UInt8]) throws(VolumeError) -> Entry? {
    let hash = NameHash(
      type: StringHashType(rawValue: directory.stringHash), seed: directory.hashSeed)
    var place = hash.dirent(name.span)
    var cursor = SnapshotCursor(forest, .dirents, snapshot: snapshot, table: table)
    cursor.seek(directory.number, place)
    while let found = try cursor.next(), found.key.position.inode == directory.number,
      found.key.position.offset == place
    {
      if found.key.type == .dirent, let entry = try decode(found), entry.name == name {
        return entry
      }
      guard place < .max else { break }
      place += 1
    }
    return nil
  }

  /// A dirent that counts here: names of subvolumes only count in the subvolume they were made in.
  private func decode(_ found: KeyReference) throws(VolumeError) -> Entry? {
    do throws(FormatError) {
      return try found.withValue { (value) throws(FormatError) in
        let dirent = try Dirent(decoding: value)
        if case .subvolume(_, let parent) = dirent.target, parent != subvolume { return nil }
        return Entry(
          name: dirent.name.copiedBytes, target: dirent.target, type: dirent.type,
          nextOffset: found.key.position.offset.saturatingSuccessor)
      }
    } catch {
      throw VolumeError(error)
    }
  }

  // MARK: - Extended attributes

  /// All attributes of an inode, with the names that Linux gives them, in hash order.
  func xattrs(_ inode: Inode) throws(VolumeError) -> [(name: [UInt8], value: [UInt8])] {
    var result: [(name: [UInt8], value: [UInt8])] = []
    var cursor = SnapshotCursor(forest, .xattrs, snapshot: snapshot, table: table)
    cursor.seek(inode.number, 0)
    while let found = try cursor.next(), found.key.position.inode == inode.number {
      guard found.key.type == .xattr else { continue }
      do throws(FormatError) {
        try found.withValue { (value) throws(FormatError) in
          let xattr = try Xattr(decoding: value)
          let bytes = xattr.value.copiedBytes
          switch xattr.type {
          case Xattr.Kind.aclAccess, Xattr.Kind.aclDefault:
            guard let list = PosixACL.linuxForm(ofDisk: bytes) else { return }
            let isDefault = xattr.type == Xattr.Kind.aclDefault
            let name = isDefault ? "system.posix_acl_default" : "system.posix_acl_access"
            result.append((Array(name.utf8), list))
          default:
            guard let prefix = Xattr.prefix(xattr.type) else { return }
            result.append((Array("\(prefix)".utf8) + xattr.name.copiedBytes, bytes))
          }
        }
      } catch {
        throw VolumeError(error)
      }
    }
    return result
  }
}

extension RawSpan {
  /// The bytes as an array.
  var copiedBytes: [UInt8] {
    (0..<byteCount).map { self[LEField<UInt8>($0)] }
  }
}

extension UInt64 {
  /// The number behind this one; the last one is its own.
  fileprivate var saturatingSuccessor: UInt64 { self == .max ? .max : self + 1 }
}
