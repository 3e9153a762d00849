// SPDX-License-Identifier: GPL-2.0
// An open volume, read-only: names, attributes, contents.
//
// How it works
//   1. Opening assembles the devices, reads the btree roots (from the clean section, or from the
//      journal with its keys laid over the btrees) and the table of snapshots.
//   2. A file is named by its subvolume and inode number. The subvolume's snapshot decides which
//      keys are seen.
// Invariants
//   (1) Nothing is ever written: the devices are open read-only.
//   (2) A `Volume` may be used from any thread; what has working memory is made for each call, or
//       kept in a `FileHandle` that belongs to one thread at a time.
//   (3) A subvolume that was read is not read again: nothing changes while the volume is open.
// Locks: see NodeReader; `knownSubvolumes` and the damages have a mutex each, leaves, not held
// while anything is read.

public import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// A file, directory or anything else with an inode.
public struct FileID: Hashable, Sendable {
  /// The subvolume that it is looked at from: its snapshot decides what is seen.
  public let subvolume: UInt32
  /// The inode's number, as in `ls -i`.
  public let inode: UInt64

  /// A file by its numbers; whether it is there shows when it is used.
  public init(subvolume: UInt32, inode: UInt64) {
    self.subvolume = subvolume
    self.inode = inode
  }
}

/// What stat(2) tells of a file, and a little more.
public struct FileAttributes: Sendable {
  /// Whose they are.
  public let id: FileID
  /// As found, with every field.
  public let inode: Inode
  /// Of the last access, in nanoseconds since 1970.
  public let accessTime: Int64
  /// Of the last change of contents, in nanoseconds since 1970.
  public let modificationTime: Int64
  /// Of the last change of contents or attributes, in nanoseconds since 1970.
  public let changeTime: Int64
  /// When it was made, in nanoseconds since 1970.
  public let birthTime: Int64

  /// Type and permissions, as `st_mode`.
  public var mode: UInt16 { inode.mode }
  /// What kind of file it is; nil if the mode says none, which is damage.
  public var kind: FileKind? { FileKind(inode) }
  /// Bytes of the contents; a directory may have any number.
  public var byteCount: UInt64 { inode.size }
  /// Names that lead to it; for a directory its subdirectories and 2.
  public var linkCount: UInt32 { inode.linkCount }
}

/// A name in a directory.
public struct DirectoryEntry: Sendable {
  /// The name's bytes; not necessarily UTF-8.
  public let name: [UInt8]
  /// What the name leads to; of a subvolume, its root.
  public let id: FileID
  /// As in `struct dirent`: 4 directory, 8 regular file, 10 symbolic link, and so on; 16 for the
  /// root of a subvolume.
  public let type: UInt8
  /// Where a listing goes on behind this name.
  public let nextOffset: UInt64

  /// The name as text; what is not UTF-8 is replaced.
  public var text: String { String(decoding: name, as: UTF8.self) }
  /// Whether it can be the name of something in a directory: others, which only damage makes, would
  /// lead elsewhere.
  public var isUsable: Bool {
    let dot = UInt8(ascii: ".")
    return !name.isEmpty && name != [dot] && name != [dot, dot]
      && !name.contains { $0 == 0 || $0 == UInt8(ascii: "/") }
  }
  /// What kind of file the name says it leads to; nil if it says none.
  public var kind: FileKind? { FileKind(direntType: type) }
}

/// An open volume, read-only.
///
/// `Volume.open` opens one. It may be used from any thread; what is found bad on the way, and read
/// from another copy, is in `damage`. Nothing is ever written to the devices.
public final class Volume: Sendable {
  let media: VolumeMedia
  let forest: BTreeForest
  let snapshots: SnapshotTable
  let journalSummary: JournalSummary
  private let damages: DamageLog
  private let knownSubvolumes = Mutex<[UInt32: Subvolume]>([:])
  /// Subvolumes kept in memory, at most.
  private static let knownSubvolumesMax = 1 << 16

  /// - Parameters:
  ///   - cacheBytes: What cached btree nodes may take.
  ///   - onDamage: As for `open`.
  init(
    media: VolumeMedia, cacheBytes: Int = 256 << 20,
    onDamage: (@Sendable (String) -> Void)? = nil
  ) throws(VolumeError) {
    self.media = media
    let damages = DamageLog(onDamage)
    self.damages = damages
    let contents = try JournalReader.read(media)
    let superblock = media.superblock
    let decoder = NodeDecoder(
      superblockMagic: superblock.uuid.lo, key: media.key,
      blockBytes: Int(superblock.blockSizeSectors) * 512,
      nodeBytes: Int(superblock[Superblock.Layout.btreeNodeSize]) * 512,
      isBlacklisted: { contents.isBlacklisted($0) })
    let nodes = NodeReader(
      media: media, decoder: decoder, cacheBytes: cacheBytes, report: damages.add)
    forest = BTreeForest(
      nodes: nodes, roots: contents.btreeRoots,
      overlay: contents.overlay.count > 0 ? contents.overlay : nil)
    journalSummary = JournalSummary(contents)
    warnings = media.warnings + contents.warnings.map(\.description)
    snapshots = try SnapshotTable(forest)
  }

  /// The newest superblock of the members, as it was when the volume was opened.
  public var superblock: Superblock { media.superblock }

  /// What was noticed while opening and did not prevent it, a line each.
  public let warnings: [String]

  /// Copies found bad so far, a line each; the reads succeeded if any other copy was good.
  public var damage: [String] { damages.lines }

  /// The root directory.
  public var root: FileID { FileID(subvolume: Subvolume.root, inode: Positions.rootInode) }

  // MARK: - Subvolumes

  /// A subvolume's root directory and snapshot.
  func subvolume(_ id: UInt32) throws(VolumeError) -> Subvolume {
    if let known = knownSubvolumes.withLock({ $0[id] }) { return known }
    let found = try readSubvolume(id)
    knownSubvolumes.withLock { known in
      if known.count < Self.knownSubvolumesMax { known[id] = found }
    }
    return found
  }

  private func readSubvolume(_ id: UInt32) throws(VolumeError) -> Subvolume {
    let cursor = BTreeCursor(forest, .subvolumes)
    guard let found = try cursor.lookup(BPos(0, UInt64(id))), found.key.type == .subvolume else {
      throw VolumeError(.notFound, "there is no subvolume \(id)")
    }
    return try found.decoded { (value) throws(FormatError) in try Subvolume(decoding: value) }
  }

  // MARK: - Files

  /// The inode of a file.
  ///
  /// - Throws: `.notFound`, and what reading a node throws: `.allCopiesBad`, `.corrupt`, `.device`.
  /// - Complexity: a lookup; no I/O while the nodes are cached.
  public func inode(_ id: FileID) throws(VolumeError) -> Inode {
    let snapshot = try subvolume(id.subvolume).snapshot
    var cursor = SnapshotCursor(forest, .inodes, snapshot: snapshot, table: snapshots)
    guard let found = try cursor.lookup(0, id.inode) else {
      throw VolumeError(.notFound, "there is no inode \(id.inode) in subvolume \(id.subvolume)")
    }
    do throws(FormatError) {
      return try found.withValue { (value) throws(FormatError) in
        try Inode(key: found.key, value: value)
      }
    } catch {
      throw VolumeError(error)
    }
  }

  /// What stat(2) tells.
  ///
  /// - Throws: as `inode`.
  public func attributes(_ id: FileID) throws(VolumeError) -> FileAttributes {
    let inode = try inode(id)
    return FileAttributes(
      id: id, inode: inode, accessTime: time(inode.atime), modificationTime: time(inode.mtime),
      changeTime: time(inode.ctime), birthTime: time(inode.otime))
  }

  /// Nanoseconds since 1970 from the volume's time.
  func time(_ value: UInt64) -> Int64 { VolumeTime(superblock).nanoseconds(value) }

  func directory(
    _ id: FileID
  ) throws(VolumeError) -> (inode: Inode, reader: DirectoryReader) {
    let inode = try inode(id)
    guard inode.isDirectory else {
      throw VolumeError(.notADirectory, "inode \(id.inode) is not a directory")
    }
    return (inode, try directoryReader(id.subvolume))
  }

  private func directoryReader(_ subvolumeID: UInt32) throws(VolumeError) -> DirectoryReader {
    DirectoryReader(
      forest, subvolume: subvolumeID, snapshot: try subvolume(subvolumeID).snapshot,
      table: snapshots, casefoldsByDefault: superblock.casefoldsByDefault)
  }

  func target(
    _ entry: DirectoryReader.Entry, in subvolumeID: UInt32
  ) throws(VolumeError) -> FileID {
    switch entry.target {
    case .inode(let number): return FileID(subvolume: subvolumeID, inode: number)
    case .subvolume(let child, _):
      return FileID(subvolume: child, inode: try subvolume(child).inode)
    }
  }

  /// Calls `body` with the names of a directory in hash order, from `offset` on; false ends it.
  ///
  /// - Parameters:
  ///   - offset: 0, or the `nextOffset` of a name, behind which the list goes on.
  /// - Throws: `.notFound`, `.notADirectory`, what reading a node throws, and what `body` throws.
  public func list(
    _ id: FileID, from offset: UInt64 = 0,
    _ body: (DirectoryEntry) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    let (inode, reader) = try directory(id)
    try reader.forEach(inode, from: offset) { (entry) throws(VolumeError) in
      try body(
        DirectoryEntry(
          name: entry.name, id: try target(entry, in: id.subvolume), type: entry.type,
          nextOffset: entry.nextOffset))
    }
  }

  /// The file of a name in a directory; in a casefolded one, in any spelling.
  ///
  /// - Throws: `.notFound`, `.notADirectory`, and what reading a node throws.
  /// - Complexity: a lookup by the name's hash.
  public func lookup(_ name: [UInt8], in id: FileID) throws(VolumeError) -> FileID {
    let (inode, reader) = try directory(id)
    guard let entry = try reader.lookup(inode, name) else {
      throw VolumeError(.notFound, "\(SafeText.text(name)): no such name")
    }
    return try target(entry, in: id.subvolume)
  }

  /// A symbolic link's target.
  ///
  /// - Throws: `.wrongType` for another kind of file; what `open` and `FileHandle.read` throw.
  public func readLink(_ id: FileID) throws(VolumeError) -> [UInt8] {
    let file = try open(id)
    guard file.inode.fileType == 0xa000 else {
      throw VolumeError(.wrongType, "inode \(id.inode) is not a symbolic link")
    }
    guard file.inode.size <= 1 << 16 else {
      throw VolumeError(.corrupt, "a symbolic link of \(file.inode.size) bytes")
    }
    let buffer = HeapBuffer(byteCount: Int(file.inode.size))
    var bytes = buffer.mutableBytes
    let count = try file.read(from: 0, into: &bytes)
    return buffer.bytes.extracting(0..<count).copiedBytes
  }

  /// A file's extended attributes by the names that Linux shows, in the order of listxattr: those
  /// that are stored, in hash order, then options as `bcachefs.NAME` and `bcachefs_effective.NAME`.
  ///
  /// - Throws: `.notFound`; `.corrupt` for an ACL that is none; what reading a node throws.
  public func xattrs(
    _ id: FileID
  ) throws(VolumeError) -> [(name: [UInt8], value: [UInt8])] {
    let inode = try inode(id)
    return try xattrReader(id.subvolume).all(inode) + media.optionXattrs(inode)
  }

  /// The value of one extended attribute, by the name that Linux shows; nil if the file does not
  /// have it.
  ///
  /// - Throws: as `xattrs`.
  /// - Complexity: a lookup by the name's hash, and one of the inode.
  public func xattr(_ name: [UInt8], of id: FileID) throws(VolumeError) -> [UInt8]? {
    let inode = try inode(id)
    guard FileOption.isShown(by: name) else {
      return try xattrReader(id.subvolume).value(of: name, inode)
    }
    return media.optionXattrs(inode).first { $0.name == name }?.value
  }

  private func xattrReader(_ subvolumeID: UInt32) throws(VolumeError) -> XattrReader {
    XattrReader(forest, snapshot: try subvolume(subvolumeID).snapshot, table: snapshots)
  }

  /// Opens a file for reading its contents.
  ///
  /// - Throws: as `inode`.
  public func open(_ id: FileID) throws(VolumeError) -> FileHandle {
    let inode = try inode(id)
    let snapshot = try subvolume(id.subvolume).snapshot
    let extents = ExtentReader(media: media, lookup: forest.lookup(), report: damages.add)
    return FileHandle(
      inode: inode,
      reader: FileReader(
        forest, snapshot: snapshot, table: snapshots, extents: extents,
        blockBytes: Int(superblock.blockSizeSectors) * 512))
  }
}

/// An open file. It belongs to one thread at a time; a file may be open any number of times.
public final class FileHandle {
  /// As it was when the file was opened.
  public let inode: Inode
  let reader: FileReader

  init(inode: Inode, reader: FileReader) {
    self.inode = inode
    self.reader = reader
  }

  /// Reads up to `target.byteCount` bytes from `offset` on; holes are zeros.
  ///
  /// Checksums are verified and other copies tried; large and aligned ranges are the fastest, since
  /// compressed and checksummed extents are read whole.
  ///
  /// - Returns: bytes read; fewer than asked for only at the end of the file.
  /// - Throws: `.allCopiesBad` for the first extent that no copy gives (the `read` with `onLost`
  ///   goes on); what reading a node throws.
  public func read(
    from offset: UInt64, into target: inout MutableRawSpan
  ) throws(VolumeError) -> Int {
    try reader.read(inode, from: offset, into: &target)
  }

  /// Calls `body` with the ranges that are not holes, in order; false ends it. `forEachExtent`
  /// tells more of them.
  ///
  /// - Throws: what reading a node throws, and what `body` throws.
  public func forEachDataRange(
    from offset: UInt64 = 0, _ body: (Range<UInt64>) throws(VolumeError) -> Bool
  ) throws(VolumeError) {
    try reader.forEachRange(inode, from: offset) { (range, kind) throws(VolumeError) in
      kind == .data ? try body(range) : true
    }
  }
}

/// Collects what was found bad, bounded, each place once.
final class DamageLog: Sendable {
  private static let limit = 1000
  private static let placesMax = 1 << 16

  private struct State {
    var lines: [String] = []
    var places: Set<UInt64> = []
    var count = 0
  }

  private let state = Mutex(State())
  private let observer: (@Sendable (String) -> Void)?

  /// - Parameter observer: Called with each new line, on the reading thread.
  init(_ observer: (@Sendable (String) -> Void)? = nil) { self.observer = observer }

  func add(_ damage: ReadDamage) {
    let isNew = state.withLock { state in
      let place = UInt64(damage.device) << 56 ^ damage.sector
      guard !state.places.contains(place) else { return false }
      if state.places.count < Self.placesMax { state.places.insert(place) }
      state.count += 1
      if state.lines.count < Self.limit { state.lines.append(damage.text) }
      return true
    }
    if isNew { observer?(damage.text) }
  }

  var lines: [String] { state.withLock { $0.lines } }
  /// All of them, beyond the lines kept too.
  var count: Int { state.withLock { $0.count } }
}
