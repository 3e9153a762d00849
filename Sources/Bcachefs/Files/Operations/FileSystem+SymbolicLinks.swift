// SPDX-License-Identifier: GPL-2.0
// Symbolic links.
//
// How it works
//   1. A target that fits a key is in the extents btree itself, and made in one transaction with
//      the link. The driver does the same with what is written to a link.
//   2. A longer one is data like any other file's: the link is made without a name, gets its data,
//      then its name. So no link is seen without its target.
// Source: fs.c (bch2_symlink), io_write.c (bch2_write_data_inline).

internal import BcachefsFormat
internal import BcachefsSupport

extension FileSystem {
  /// The longest target, in bytes (`PATH_MAX` without its zero).
  static var targetMaxByteCount: Int { 4095 }

  /// Makes a symbolic link.
  ///
  /// - Parameters:
  ///   - creation: Of which owner and group count.
  ///   - quotas: Whether the owner's limits count.
  /// - Throws: `.invalid` for an empty target and one with a zero in it, `.nameTooLong` beyond 4095
  ///   bytes; else as `create`.
  public func makeLink(
    _ name: [UInt8], to target: [UInt8], in parent: FileID,
    _ creation: FileCreation = FileCreation(.symbolicLink, permissions: 0o777),
    quotas: QuotaRule = .exempt
  ) throws(VolumeError) -> FileAttributes {
    let creation = try linkCreation(creation, target)
    guard target.count <= inlineTargetMaxByteCount else {
      return try makeLongLink(name, to: target, in: parent, creation, quotas)
    }
    try checkRoom()
    try engine.features.use(.inlineData)
    let setting = setting()
    let inode = try engine.run("symlink", quotas: quotas) {
      (transaction) throws(TransactionError) in
      var inode = try transaction.create(name, in: parent, creation, setting)
      try transaction.putInlineTarget(target, &inode, blockBytes: blockBytes)
      try transaction.commit()
      return inode
    }
    return attributes(FileID(subvolume: parent.subvolume, inode: inode.number), inode)
  }

  /// Makes a symbolic link without a name, as `createUnnamed` does; its target is written when this
  /// returns.
  ///
  /// - Throws: as `makeLink`.
  public func makeUnnamedLink(
    to target: [UInt8], in parent: FileID, _ creation: FileCreation
  ) throws(VolumeError) -> FileAttributes {
    let creation = try linkCreation(creation, target)
    let made = try createUnnamed(in: parent, creation)
    do throws(VolumeError) {
      try writeTarget(target, of: made.id, .exempt)
    } catch {
      try letGo(made.id)
      throw error
    }
    return made
  }

  /// What a link is made with, whose target can be one.
  private func linkCreation(
    _ creation: FileCreation, _ target: [UInt8]
  ) throws(VolumeError) -> FileCreation {
    guard target.count <= Self.targetMaxByteCount else { throw VolumeError(.nameTooLong) }
    guard !target.isEmpty, !target.contains(0) else { throw VolumeError(.invalid) }
    var result = creation
    result.kind = .symbolicLink
    result.permissions = 0o777
    return result
  }

  /// Gives a link without a name its target.
  private func writeTarget(
    _ target: [UInt8], of id: FileID, _ rule: QuotaRule
  ) throws(VolumeError) {
    guard target.count <= inlineTargetMaxByteCount else {
      return try writeLongTarget(target, of: id, rule)
    }
    try engine.features.use(.inlineData)
    try engine.run("symlink", quotas: rule) { (transaction) throws(TransactionError) in
      var (_, inode) = try transaction.inodeToChange(id)
      try transaction.putInlineTarget(target, &inode, blockBytes: blockBytes)
      try transaction.commit()
    }
  }

  /// A symbolic link's target.
  ///
  /// - Throws: `.wrongType` for another kind of file; `.notFound`.
  public func target(of id: FileID) throws(VolumeError) -> [UInt8] {
    let inline = try engine.run("readlink") {
      (transaction) throws(TransactionError) -> [UInt8]? in
      let snapshot = try transaction.subvolume(id.subvolume).snapshot
      let inode = try transaction.inode(id.inode, snapshot)
      guard FileKind(inode) == .symbolicLink else { throw .failed(VolumeError(.wrongType)) }
      return try transaction.inlineTarget(of: inode, snapshot)
    }
    guard let inline else { return try readLongTarget(of: id) }
    return inline
  }

  /// What a key of type inline_data may hold of a file; 0 where the volume is to have none.
  private var inlineTargetMaxByteCount: Int {
    DataParameters.inlineDataMaxBytes(engine.media.options)
  }

  private func makeLongLink(
    _ name: [UInt8], to target: [UInt8], in parent: FileID, _ creation: FileCreation,
    _ rule: QuotaRule
  ) throws(VolumeError) -> FileAttributes {
    let made = try createUnnamed(in: parent, creation, quotas: rule)
    let linked: FileAttributes
    do throws(VolumeError) {
      try writeLongTarget(target, of: made.id, rule)
      linked = try link(made.id, as: name, in: parent)
    } catch {
      try letGo(made.id)
      throw error
    }
    try letGo(made.id)
    return linked
  }

  /// Writes the target of a symbolic link that has no name yet, as the contents of a file are
  /// written; its size is that of the target.
  private func writeLongTarget(
    _ target: [UInt8], of id: FileID, _ rule: QuotaRule
  ) throws(VolumeError) {
    let contents = try contents.open(id)
    defer { self.contents.close(id) }
    try contents.write(target.rawBytes, at: 0, rule)
    try contents.flush()
  }

  /// Reads the target of a symbolic link that is not in a key, as the contents of a file are read.
  private func readLongTarget(of id: FileID) throws(VolumeError) -> [UInt8] {
    let contents = try contents.open(id)
    defer { self.contents.close(id) }
    var target = [UInt8](repeating: 0, count: Self.targetMaxByteCount)
    var bytes = target.mutableRawBytes
    let count = try contents.read(from: 0, into: &bytes)
    return Array(target.prefix(count))
  }
}
