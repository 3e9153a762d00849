// SPDX-License-Identifier: GPL-2.0
// Attributes of files and of the volume.
//
// How it works
//   An extended attribute's name says what it is: one that is stored, an ACL in a form of its own,
//   or an option, which is a field of the inode. All are given and taken as Linux does.
// Invariants
//   (1) A feature that a value needs is in the superblock before the value is in an inode.
// Source: fs.c (bch2_setattr, bch2_statfs), xattr.c.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

extension FileSystem {
  /// Changes attributes; the change time becomes now, if it is not given.
  ///
  /// - Throws: `.notFound`; `.readOnly`; `.notPermitted` for what an immutable file keeps.
  public func change(
    _ id: FileID, _ change: AttributeChange
  ) throws(VolumeError) -> FileAttributes {
    let (setting, time) = (setting(), time)
    if change.modificationTime != nil { contents.find(id)?.forgetTime() }
    let inode = try engine.run("setattr") {
      (transaction) throws(TransactionError) in
      let inode = try transaction.change(id, change, time, setting)
      try transaction.commit()
      return inode
    }
    return attributes(id, inode)
  }

  /// What statfs(2) tells. No I/O.
  public var usage: VolumeUsage {
    let capacity = engine.usage.capacity
    return VolumeUsage(
      capacitySectors: capacity, usedSectors: min(engine.usage.used, capacity),
      inodeCount: engine.usage.inodeCount)
  }

  // MARK: - Extended attributes

  /// The names of a file's extended attributes in the order of listxattr: those that are stored, in
  /// hash order, then options as `bcachefs.NAME` and `bcachefs_effective.NAME`.
  ///
  /// - Throws: `.notFound`; `.tooLarge` for more than 65,536 bytes of them.
  public func xattrNames(of id: FileID) throws(VolumeError) -> [[UInt8]] {
    let (inode, keys) = try engine.run("listxattr") {
      (transaction) throws(TransactionError) -> (Inode, [XattrKey]) in
      let snapshot = try transaction.subvolume(id.subvolume).snapshot
      let inode = try transaction.inode(id.inode, snapshot)
      return (inode, try transaction.xattrKeys(inode, snapshot))
    }
    let stored = keys.compactMap { XattrName.join($0.type, $0.name.rawBytes) }
    return stored + engine.media.optionXattrs(inode).map(\.name)
  }

  /// The value of an extended attribute.
  ///
  /// - Throws: `.noAttribute`; `.notFound`; `.unsupported` for a name that no volume can hold.
  public func xattr(_ name: [UInt8], of id: FileID) throws(VolumeError) -> [UInt8] {
    if FileOption.isShown(by: name) {
      let inode = try attributes(of: id).inode
      let shown = engine.media.optionXattrs(inode).first { $0.name == name }
      guard let shown else { throw VolumeError(.noAttribute) }
      return shown.value
    }
    let key = try xattrKey(name)
    let value = try engine.run("getxattr") { (transaction) throws(TransactionError) -> [UInt8]? in
      let snapshot = try transaction.subvolume(id.subvolume).snapshot
      return try transaction.xattr(key, transaction.inode(id.inode, snapshot), snapshot)
    }
    guard let value else { throw VolumeError(.noAttribute) }
    guard key.isACL else { return value }
    guard let list = PosixACL.linuxForm(ofDisk: value) else {
      throw VolumeError(.corrupt, "inode \(id.inode) has an ACL that is none")
    }
    return list
  }

  /// Sets an extended attribute: in the namespaces `user`, `trusted` and `security`, an ACL in
  /// Linux's form as `system.posix_acl_access` or `_default`, an option as `bcachefs.NAME`.
  ///
  /// - Throws: `.tooLarge` for what does not fit a key; `.exists` and `.noAttribute` where the
  ///   condition says so; `.invalid` for an ACL or an option's value that is none; `.accessDenied`
  ///   for a default ACL of a file; `.unsupported` for another namespace; `.notFound`, `.readOnly`,
  ///   `.notPermitted`.
  public func setXattr(
    _ name: [UInt8], of id: FileID, to value: [UInt8], _ condition: XattrCondition = .any
  ) throws(VolumeError) {
    if FileOption.isShown(by: name) { return try setOption(name, of: id, to: value) }
    let key = try xattrKey(name)
    try checkRoom()
    if key.isACL { return try setACL(key, of: id, to: value) }
    try setXattr(key, of: id, to: value, condition)
  }

  /// Removes an extended attribute; an option then follows the directory's again.
  ///
  /// - Throws: `.noAttribute`; `.unsupported`, `.notFound`, `.readOnly`, `.notPermitted`.
  public func removeXattr(_ name: [UInt8], of id: FileID) throws(VolumeError) {
    if FileOption.isShown(by: name) { return try setOption(name, of: id, to: nil) }
    let key = try xattrKey(name)
    if key.isACL { return try setACL(key, of: id, to: nil) }
    try setXattr(key, of: id, to: nil, .any)
  }

  private func xattrKey(_ name: [UInt8]) throws(VolumeError) -> XattrKey {
    guard let (type, rest) = XattrName.split(name) else { throw VolumeError(.unsupported) }
    guard name.count <= 255 else { throw VolumeError(.tooLarge) }
    guard !rest.contains(0) else { throw VolumeError(.invalid) }
    let key = XattrKey(type: type, name: rest)
    guard usesACLs || !key.isACL else { throw VolumeError(.unsupported) }
    return key
  }

  private func setXattr(
    _ key: XattrKey, of id: FileID, to value: [UInt8]?, _ condition: XattrCondition
  ) throws(VolumeError) {
    let setting = setting()
    try engine.run("setxattr") { (transaction) throws(TransactionError) in
      try transaction.setXattr(key, of: id, to: value, condition, setting)
      try transaction.commit()
    }
  }

  private func setACL(
    _ key: XattrKey, of id: FileID, to value: [UInt8]?
  ) throws(VolumeError) {
    var list: AccessControlList?
    if let value, !value.isEmpty {
      guard let bytes = PosixACL.diskForm(ofLinux: value),
        let parsed = AccessControlList(disk: bytes), parsed.entries.isEmpty || parsed.isValid
      else { throw VolumeError(.invalid) }
      list = parsed.entries.isEmpty ? nil : parsed
    }
    let setting = setting()
    try engine.run("setxattr") { [list] (transaction) throws(TransactionError) in
      try transaction.setACL(key, of: id, to: list, setting)
      try transaction.commit()
    }
  }

  // MARK: - Options

  /// - Parameter value: nil: as the directory has it.
  private func setOption(
    _ name: [UInt8], of id: FileID, to value: [UInt8]?
  ) throws(VolumeError) {
    // What applies follows from what is set: as in Linux it is not set itself, and nobody is told.
    guard let optionName = FileOption.ownName(name) else { return }
    guard let row = VolumeOption(named: optionName), let option = row.inodeOption else {
      throw VolumeError(.invalid)
    }
    var number: UInt64?
    if let value {
      do throws(OptionError) {
        number = try row.parse(String(decoding: value, as: UTF8.self)) { self.target(named: $0) }
      } catch {
        throw VolumeError(.invalid, "\(error)")
      }
    }
    if let number { try markFeatures(option, number) }
    let setting = setting()
    try engine.run("setxattr") { [number] (transaction) throws(TransactionError) in
      try transaction.setOption(option, of: id, to: number, setting)
      try transaction.commit()
    }
  }

  /// A device of the volume or a label, by the name that a target has.
  private func target(named name: String) -> DiskTarget? {
    for (index, device) in engine.media.devices.enumerated() where device?.name == name {
      return DiskTarget.device(UInt8(truncatingIfNeeded: index))
    }
    return engine.media.superblock.target(named: name)
  }

  /// Has the superblock say what files with an option will need
  /// (`bch2_opt_check_may_set`).
  private func markFeatures(_ option: InodeOption, _ value: UInt64) throws(VolumeError) {
    var feature: SuperblockFeature?
    switch option {
    case .compression, .backgroundCompression:
      feature = CompressionOption(rawValue: UInt8(truncatingIfNeeded: value)).algorithm.feature
    case .erasureCode where value != 0: feature = .ec
    default: break
    }
    guard let feature, !engine.store.superblock.featureMask.contains(feature) else { return }
    try engine.store.update { $0.featureMask.insert(feature) }
  }

  /// Gives the file of a name the options of its directory, but those that were set on it. After an
  /// option of a directory changed it is called for every name below, from the top down.
  ///
  /// - Returns: whether that changed any, and the file.
  /// - Throws: `.notFound`, `.notADirectory`, `.readOnly`.
  public func inheritOptions(
    _ name: [UInt8], in parent: FileID
  ) throws(VolumeError) -> (id: FileID, isChanged: Bool) {
    let setting = setting()
    return try engine.run("reinherit") { (transaction) throws(TransactionError) in
      let result = try transaction.inheritOptions(of: parent, for: name, setting)
      try transaction.commit()
      return result
    }
  }
}
