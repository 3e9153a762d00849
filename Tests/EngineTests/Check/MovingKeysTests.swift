// SPDX-License-Identifier: GPL-2.0
// A snapshot was deleted, and the volume closed before that was cleaned up: nearly all files are in
// a node that gives way to its only child. The check looks at them as that child sees them.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct MovingKeysTests {
  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  /// A volume with files that are in the node alone, and others of which each side has versions; it
  /// is let go of as it is when `damage` was done.
  ///
  /// - Parameter steps: How much is cleaned up before.
  private func findings(
    steps: Int = 0, _ damage: (Transaction, FileID) throws(TransactionError) -> Void
  ) throws -> [String] {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let folder = try files.makeDirectory("folder")
    var some: [FileID] = []
    for number in 0..<12 {
      let file = try files.makeFile("file \(number)", in: folder)
      try files.write(file, [UInt8](repeating: 7, count: 20_000).rawBytes, at: 0)
      try files.setXattr(name("user.own"), of: file, to: name("\(number)"))
      some.append(file)
    }
    _ = try files.link(some[0], as: name("link"), in: folder)
    try files.sync()
    let snapshot = try files.createSnapshot(of: 1, as: name("snap"), in: files.root)
    let inside = FileID(subvolume: snapshot.id.subvolume, inode: folder.inode)
    // Each side changes, and deletes, what the other has not.
    for (side, parent) in [(1, folder), (2, inside)] {
      let file = FileID(subvolume: parent.subvolume, inode: some[side].inode)
      try files.write(file, [UInt8](repeating: 8, count: 9000).rawBytes, at: 4096)
      try files.truncate(FileID(subvolume: parent.subvolume, inode: some[side + 2].inode), to: 50)
      try files.unlink(name("file \(side + 4)"), in: parent)
      try files.rename(
        name("file \(side + 6)"), in: parent, to: name("moved \(side)"), in: parent)
      try files.removeXattr(
        name("user.own"), of: FileID(subvolume: parent.subvolume, inode: some[side + 8].inode))
      _ = try files.makeFile("new", in: parent)
      _ = try files.makeDirectory("inner", in: parent)
    }
    try files.sync()
    try files.deleteSubvolume(name("snap"), in: files.root)
    var calls = 0
    try files.cleanSnapshots {
      calls += 1
      return calls > steps
    }
    try files.engine.run("test_damage") { (transaction) throws(TransactionError) in
      try damage(transaction, some[10])
      try transaction.commit()
    }
    try files.sync()
    try disk.letGo(files)
    return try disk.read { try $0.findings() }
  }

  @Test(arguments: [0, 1, 2, 3, 5, 8, 13])
  func whatIsHalfCleanedUpIsSound(steps: Int) throws {
    let found = try findings(steps: steps) { _, _ in }
    #expect(found == [])
  }

  /// Snapshots of snapshots: between a node and its heir are others' numbers.
  @Test(arguments: [1 << 30, 0]) func versionsOutOfOrderAreSound(memory: Int) throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    var ids: [FileID] = []
    for number in 0..<40 {
      let file = try files.makeFile("a \(number)")
      _ = try files.link(file, as: name("b \(number)"), in: files.root)
      // Its first name is gone: it knows of none from then on.
      try files.unlink(name("a \(number)"), in: files.root)
      ids.append(file)
    }
    let first = try files.createSnapshot(of: 1, as: name("first"), in: files.root)
    let subvolume = first.id.subvolume
    for file in ids {
      try files.write(file, [UInt8]([1, 2, 3]).rawBytes, at: 0)
      try files.write(FileID(subvolume: subvolume, inode: file.inode), [UInt8]([4]).rawBytes, at: 0)
    }
    try files.sync()
    _ = try files.createSnapshot(of: subvolume, as: name("second"), in: files.root)
    try files.deleteSubvolume(name("second"), in: files.root)
    try files.cleanSnapshots { true }
    try files.sync()
    try disk.letGo(files)
    var options = CheckOptions.thorough
    options.memoryBytes = memory
    #expect(try disk.read { try $0.findings(options) } == [])
  }

  @Test func wrongSectorsAreFound() throws {
    let found = try findings { (transaction, file) throws(TransactionError) in
      try transaction.changeAnyVersion(of: file.inode) { $0.sectors += 8 }
    }
    #expect(found.count == 1 && found[0].contains("inode_i_sectors_wrong"), "\(found)")
  }

  @Test func aWrongLinkCountIsFound() throws {
    let found = try findings { (transaction, file) throws(TransactionError) in
      try transaction.changeAnyVersion(of: file.inode) { $0.nlink = 4 }
    }
    #expect(found.count == 1 && found[0].contains("inode_wrong_nlink"), "\(found)")
  }

  @Test func aNameThatLeadsNowhereIsFound() throws {
    let found = try findings { (transaction, file) throws(TransactionError) in
      try transaction.forEachVersion(of: file.inode) { inode in
        transaction.delete(.inodes, BPos(0, inode.number, inode.snapshot), flags: .noTriggers)
        transaction.account(.nrInodes, [-1])
      }
    }
    #expect(found.contains { $0.contains("dirent_to_missing_inode") }, "\(found)")
    #expect(found.contains { $0.contains("key_in_missing_inode") }, "\(found)")
  }
}

extension Transaction {
  /// Calls `body` with all versions of an inode.
  fileprivate func forEachVersion(
    of number: UInt64, _ body: (Inode) -> Void
  ) throws(TransactionError) {
    var walk = KeyWalk(.inodes, from: BPos(0, number, 0), mode: .intent)
    while let found = try next(&walk), found.key.position.offset == number {
      guard found.key.type.isInode else { continue }
      body(try Self.inode(found))
    }
  }

  fileprivate func changeAnyVersion(
    of number: UInt64, _ change: (inout Inode) -> Void
  ) throws(TransactionError) {
    try forEachVersion(of: number) { inode in
      var changed = inode
      change(&changed)
      put(
        .inodes, .inodeV3, BPos(0, number, inode.snapshot), changed.encodedU64s,
        flags: .noTriggers
      ) { changed.encode(into: &$0) }
    }
  }
}
