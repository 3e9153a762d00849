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
  /// - Parameter quotas: Whether the limits of a new owner, group or project count.
  /// - Throws: `.notFound`; `.readOnly`; `.notPermitted` for what an immutable file keeps;
  ///   `.invalid` for a project that there cannot be; `.quotaExceeded`.
  public func change(
    _ id: FileID, _ change: AttributeChange, quotas: QuotaRule = .exempt
  ) throws(VolumeError) -> FileAttributes {
    let (setting, time) = (setting(), time)
    if engine.quotas != nil, change.uid != nil || change.gid != nil || change.project != nil {
      // What is promised to the old owner becomes his, and then the new one's.
      contents.find(id)?.writeBack()
    }
    let before = contents.commitCount
    let commit = { [engine] () throws(VolumeError) -> Inode in
      try engine.run("setattr", quotas: quotas) { (transaction) throws(TransactionError) in
        let inode = try transaction.change(id, change, time, setting)
        try transaction.commit()
        return inode
      }
    }
    let inode: Inode
    if let contents = contents.find(id) {
      inode = try contents.replacingTime(if: change.modificationTime != nil, commit)
    } else {
      inode = try commit()
    }
    let result = attributes(id, inode)
    return contents.commitCount == before ? result : try attributes(of: id)
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
  /// - Parameter clearsSetGroup: With an access ACL: the set-group-ID bit goes, since who asks is
  ///   not in the file's group.
  /// - Throws: `.tooLarge` for what does not fit a key; `.exists` and `.noAttribute` where the
  ///   condition says so; `.invalid` for an ACL or an option's value that is none; `.accessDenied`
  ///   for a default ACL of a file; `.unsupported` for another namespace; `.notFound`, `.readOnly`,
  ///   `.notPermitted`.
  public func setXattr(
    _ name: [UInt8], of id: FileID, to value: [UInt8], _ condition: XattrCondition = .any,
    clearsSetGroup: Bool = false, quotas: QuotaRule = .exempt
  ) throws(VolumeError) {
    if FileOption.isShown(by: name) { return try setOption(name, of: id, to: value, quotas) }
    let key = try xattrKey(name)
    try checkRoom()
    if key.isACL { return try setACL(key, of: id, to: value, clearsSetGroup: clearsSetGroup) }
    try setXattr(key, of: id, to: value, condition)
  }

  /// Removes an extended attribute; an option then follows the directory's again.
  ///
  /// - Throws: `.noAttribute`; `.unsupported`, `.notFound`, `.readOnly`, `.notPermitted`.
  public func removeXattr(
    _ name: [UInt8], of id: FileID, quotas: QuotaRule = .exempt
  ) throws(VolumeError) {
    if FileOption.isShown(by: name) { return try setOption(name, of: id, to: nil, quotas) }
    let key = try xattrKey(name)
    if key.isACL { return try setACL(key, of: id, to: nil, clearsSetGroup: false) }
    try setXattr(key, of: id, to: nil, .any)
  }

  private func xattrKey(_ name: [UInt8]) throws(VolumeError) -> XattrKey {
    guard let (type, rest) = XattrName.split(name) else { throw VolumeError(.unsupported) }
    guard name.count <= 255 else { throw VolumeError(.tooLarge) }
    let key = XattrKey(type: type, name: rest)
    guard !rest.isEmpty || key.isACL, !rest.contains(0) else { throw VolumeError(.invalid) }
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
    _ key: XattrKey, of id: FileID, to value: [UInt8]?, clearsSetGroup: Bool
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
      try transaction.setACL(key, of: id, to: list, clearsSetGroup: clearsSetGroup, setting)
      try transaction.commit()
    }
  }

  // MARK: - Options

  /// - Parameter value: nil: as the directory has it.
  private func setOption(
    _ name: [UInt8], of id: FileID, to value: [UInt8]?, _ rule: QuotaRule
  ) throws(VolumeError) {
    // What applies follows from what is set: as in Linux it is not set itself, and nobody is told.
    guard let optionName = FileOption.ownName(name) else { return }
    try setOptions(
      [(optionName, value.map { String(decoding: $0, as: UTF8.self) })], of: id, quotas: rule)
  }

  /// Sets options of a file, all of them or, where one is refused, none.
  ///
  /// - Parameters:
  ///   - values: Names as in `bcachefs.NAME`, with values as text; nil: as the directory has it.
  ///   - quotas: Whether the limits of a new project count.
  /// - Throws: `.invalid` for what is no option of files, or no value of it; `.notFound`,
  ///   `.readOnly`, `.notPermitted`, `.quotaExceeded`.
  public func setOptions(
    _ values: [(name: String, value: String?)], of id: FileID, quotas: QuotaRule = .exempt
  ) throws(VolumeError) {
    var parsed: [(row: VolumeOption, option: InodeOption, value: UInt64?)] = []
    let media = engine.media
    for (name, value) in values {
      guard let row = VolumeOption(named: name), let option = row.inodeOption else {
        throw VolumeError(.invalid, "\(name) is no option of files")
      }
      do throws(OptionError) {
        let number = try value.map { (text) throws(OptionError) in
          try row.parse(text) { media.target(named: $0) }
        }
        parsed.append((row, option, number))
      } catch {
        throw VolumeError(.invalid, "\(error)")
      }
    }
    for (row, _, value) in parsed {
      if let value { try markFeatures(row, value) }
    }
    let setting = setting()
    try engine.run("setxattr", quotas: quotas) { [parsed] (transaction) throws(TransactionError) in
      for (_, option, value) in parsed {
        try transaction.setOption(option, of: id, to: value, setting)
      }
      try transaction.commit()
    }
  }

  /// Has the superblock say what files with an option will need.
  private func markFeatures(_ option: VolumeOption, _ value: UInt64) throws(VolumeError) {
    guard let feature = option.feature(value),
      !engine.store.superblock.featureMask.contains(feature)
    else { return }
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
    return try engine.run("reinherit", quotas: .exempt) { (transaction) throws(TransactionError) in
      let result = try transaction.inheritOptions(of: parent, for: name, setting)
      try transaction.commit()
      return result
    }
  }
}
