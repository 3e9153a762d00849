// SPDX-License-Identifier: GPL-2.0
// Volumes that somebody made to do harm: their journals hold whatever keys a test says, under right
// checksums, and btree nodes can be put where the test wants them.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

/// A volume made of keys.
final class HostileVolume {
  struct Key {
    let btree: BTreeID
    var type = JSetEntryType.btreeKeys
    var level: UInt8 = 0
    let key: BKey
    let value: [UInt8]
  }

  /// The snapshot that the root subvolume shows.
  static let snapshot = UInt32.max
  let medium: JournalOnlyVolume
  private(set) var keys: [Key] = []

  init() throws {
    medium = try JournalOnlyVolume()
    medium.superblock[Superblock.Layout.btreeNodeSize] = UInt64(Self.nodeBytes / 512)
  }

  // MARK: - Keys

  func add(_ btree: BTreeID, _ type: BKeyType, _ position: BPos, value: [UInt8]) {
    keys.append(Self.key(btree, type, position, value: value))
  }

  static func key(
    _ btree: BTreeID, _ type: BKeyType, _ position: BPos, size: UInt32 = 0, value: [UInt8]
  ) -> Key {
    var key = BKey(type: type, position: position, valueU64s: value.count / 8)
    key.size = size
    return Key(btree: btree, key: key, value: value)
  }

  /// Puts keys where validation of the journal's keys does not see them: the one leaf of a btree.
  func addLeaf(_ btree: BTreeID, at sector: UInt64 = 5120, _ keys: [Key]) throws {
    try writeNode(btree, level: 0, from: .min, through: .max, at: sector, keys)
    add(Self.pointer(btree, level: 0, through: .max, at: sector, isRoot: true))
  }

  /// A subvolume with its leaf in the tree of snapshots.
  func addSubvolume(_ id: UInt32, snapshot: UInt32, root: UInt64, parent: UInt32 = 0) {
    var value = Subvolume(snapshot: snapshot, inode: root)
    value.pathParent = parent
    add(
      .subvolumes, .subvolume, BPos(0, UInt64(id)),
      value: encoded(Subvolume.encodedU64s) { value.encode(into: &$0) })
    var node = Snapshot()
    node.subvolume = id
    addSnapshot(snapshot, node)
  }

  func addSnapshot(_ id: UInt32, _ node: Snapshot) {
    add(
      .snapshots, .snapshot, BPos(0, UInt64(id)),
      value: encoded(Snapshot.encodedU64s) { node.encode(into: &$0) })
  }

  /// A directory that says of itself where its name stands.
  func addDirectory(
    _ number: UInt64, in parent: UInt64 = 0, at offset: UInt64 = 0, snapshot: UInt32 = snapshot,
    _ change: (inout Inode) -> Void = { _ in }
  ) {
    var inode = Inode()
    inode.number = number
    inode.mode = 0o40755
    inode.directory = parent
    inode.directoryOffset = offset
    change(&inode)
    addInode(inode, snapshot: snapshot)
  }

  func addInode(_ inode: Inode, snapshot: UInt32 = snapshot) {
    add(
      .inodes, .inodeV3, BPos(0, inode.number, snapshot),
      value: encoded(inode.encodedU64s) { inode.encode(into: &$0) })
  }

  func addName(
    _ name: String, in directory: UInt64, at offset: UInt64, _ target: Dirent.Target,
    type: UInt8 = 4, snapshot: UInt32 = snapshot
  ) throws {
    keys.append(
      try Self.name(name, in: directory, at: offset, target, type: type, snapshot: snapshot))
  }

  static func name(
    _ name: String, in directory: UInt64, at offset: UInt64, _ target: Dirent.Target,
    type: UInt8 = 4, snapshot: UInt32 = snapshot
  ) throws -> Key {
    let bytes = Array(name.utf8)
    var value = [UInt8](repeating: 0, count: Dirent.encodedU64s(nameByteCount: bytes.count) * 8)
    var span = value.mutableRawBytes
    _ = try Dirent.encode(target: target, type: type, name: bytes.rawBytes, into: &span)
    let position = BPos(directory, offset, snapshot)
    return Key(
      btree: .dirents, key: BKey(type: .dirent, position: position, valueU64s: value.count / 8),
      value: value)
  }

  private func encoded(_ words: Int, _ body: (inout MutableRawSpan) -> Void) -> [UInt8] {
    var value = [UInt8](repeating: 0, count: words * 8)
    var span = value.mutableRawBytes
    body(&span)
    return value
  }

  // MARK: - Nodes

  static let nodeBytes = 4096
  private static let sequence: UInt64 = 0x5eed

  /// Writes a btree node of unpacked keys at a sector that nothing else uses.
  func writeNode(
    _ btree: BTreeID, level: Int, from minKey: BPos, through maxKey: BPos, at sector: UInt64,
    _ keys: [Key]
  ) throws {
    var bytes = [UInt8](repeating: 0, count: BTreeNodeHeader.Layout.keys)
    for key in keys {
      var header = [UInt8](repeating: 0, count: BKey.Layout.byteCount)
      var span = header.mutableRawBytes
      key.key.encode(into: &span)
      bytes += header + key.value
    }
    let type = ChecksumType.crc32cNonzero
    let bset = BSetHeader(
      sequence: Self.sequence, journalSequence: 0, flags: UInt32(type.rawValue),
      version: MetadataVersion.native.rawValue,
      u64s: UInt16((bytes.count - BTreeNodeHeader.Layout.keys) / 8))
    let header = BTreeNodeHeader(
      magic: medium.superblock.bsetMagic, btree: btree, level: level, minKey: minKey,
      maxKey: maxKey, format: .current, bset: bset)
    var span = bytes.mutableRawBytes
    header.encode(into: &span)
    let sum = try type.checksum(bytes.rawBytes.extracting(16..<bytes.count))
    bytes.put(sum.lo, at: 0)
    bytes.put(sum.hi, at: 8)
    bytes += [UInt8](repeating: 0, count: Self.nodeBytes - bytes.count)
    try medium.write(bytes, on: 0, at: sector * 512)
  }

  /// A pointer to such a node, as it stands in the node above, or says where the root is.
  ///
  /// - Parameter from: A start that counts more than what the node says of itself.
  static func pointer(
    _ btree: BTreeID, level: Int, through maxKey: BPos, at sector: UInt64, from minKey: BPos? = nil,
    isRoot: Bool = false
  ) -> Key {
    var head = BTreePtrV2(seq: sequence, sectorsWritten: 0, minKey: minKey ?? .min)
    head.isRangeUpdated = minKey != nil
    var value = [UInt8](repeating: 0, count: BTreePtrV2.Layout.byteCount)
    var span = value.mutableRawBytes
    head.encode(into: &span)
    value += [UInt8](repeating: 0, count: 8)
    value.put(ExtentPtr(device: 0, offset: sector, generation: 0).word, at: 40)
    return Key(
      btree: btree, type: isRoot ? .btreeRoot : .btreeKeys, level: UInt8(level),
      key: BKey(type: .btreePtrV2, position: maxKey, valueU64s: value.count / 8), value: value)
  }

  func add(_ key: Key) { keys.append(key) }

  // MARK: - Opening

  /// Writes the journal, and opens what it makes.
  func open() throws -> Volume {
    try writeJournal()
    return try Volume(media: try medium.media())
  }

  /// The same for changes; nodes go where nothing else is.
  func openForChanges() throws -> Engine {
    var options = VolumeOptions()
    options[.blockSize] = 512
    options[.btreeNodeSize] = UInt64(Self.nodeBytes)
    options.store(into: &medium.superblock.optionWords)
    medium.superblock.isInitialized = true
    medium.superblock.featureMask = SuperblockFeature.newVolume.union([.extentsAboveBtreeUpdates])
    medium.superblock.changeMembers { $0[0].dataAllowed = [.journal, .btree, .user] }
    try writeJournal()
    for device in try medium.media().devices { try device?.close() }
    return try BareEngine(on: FreshVolume.open(medium.devices), places: 4 << 20).engine
  }

  private func writeJournal() throws {
    var sequence: UInt64 = 1
    for start in stride(from: 0, to: max(keys.count, 1), by: 25) {
      let bytes = try medium.encode(sequence, lastSeq: 1) { builder in
        for key in keys[start..<min(start + 25, keys.count)] {
          try builder.appendKey(
            key.type, btree: key.btree, level: key.level, key.key, value: key.value.rawBytes)
        }
      }
      try medium.append(bytes)
      sequence += 1
    }
  }
}
