// SPDX-License-Identifier: GPL-2.0
// Extended attributes, ACLs among them.
//
// How it works
//   1. An attribute stands at the hash of its kind and name, as names in directories do.
//   2. An ACL is an attribute without a name. One that says no more than a mode is not kept: the
//      mode says it.
// Invariants
//   (1) The mode of a file with an access ACL is that of the ACL.
// Source: xattr.c (bch2_xattr_set, bch2_xattr_get_trans), acl.c (bch2_set_acl, bch2_set_acl_trans).

internal import BcachefsFormat
internal import BcachefsSupport

/// An attribute's name, taken apart.
struct XattrKey {
  let type: UInt8
  let name: [UInt8]

  static let aclAccess = XattrKey(type: Xattr.Kind.aclAccess, name: [])
  static let aclDefault = XattrKey(type: Xattr.Kind.aclDefault, name: [])

  var isACL: Bool { type == Xattr.Kind.aclAccess || type == Xattr.Kind.aclDefault }
}

/// An attribute where it stands.
private struct FoundXattr {
  let position: BPos
  let value: [UInt8]
}

extension Transaction {
  private func table(_ inode: Inode, _ snapshot: UInt32) -> HashTable {
    HashTable(btree: .xattrs, type: .xattr, inode: inode.number, snapshot: snapshot)
  }

  /// - Parameter copies: Whether the value is wanted.
  private func search(
    _ key: XattrKey, _ inode: Inode, _ snapshot: UInt32, _ mode: LockMode, copies: Bool = true
  ) throws(TransactionError) -> HashPlace<FoundXattr> {
    let hash = NameHash(inode).xattr(type: key.type, key.name.span)
    return try search(table(inode, snapshot), from: hash, mode) {
      (found) throws(TransactionError) in
      let position = found.key.position
      return try found.decoded { (value) throws(FormatError) in
        let xattr = try Xattr(decoding: value)
        guard xattr.type == key.type, xattr.name.elementsEqual(key.name) else { return .other }
        return .found(
          FoundXattr(position: position, value: copies ? xattr.value.copiedBytes : []))
      }
    }
  }

  /// The value of an attribute as it stands on disk; nil if the inode does not have it.
  func xattr(
    _ key: XattrKey, _ inode: Inode, _ snapshot: UInt32, _ mode: LockMode = .read
  ) throws(TransactionError) -> [UInt8]? {
    guard case .found(let found) = try search(key, inode, snapshot, mode) else { return nil }
    return found.value
  }

  /// The kinds and names of an inode's attributes, in the order of their hashes.
  ///
  /// - Throws: `.tooLarge` for names of more bytes than listxattr(2) gives.
  func xattrKeys(
    _ inode: Inode, _ snapshot: UInt32
  ) throws(TransactionError) -> [XattrKey] {
    var result: [XattrKey] = []
    var byteCount = 0
    var walk = SnapshotWalk(.xattrs, inode.number, from: 0, snapshot: snapshot)
    while let found = try next(&walk) {
      guard found.key.type == .xattr else { continue }
      let key = try found.decoded { (value) throws(FormatError) in
        let xattr = try Xattr(decoding: value)
        return XattrKey(type: xattr.type, name: xattr.name.copiedBytes)
      }
      byteCount += key.name.count + 1
      guard byteCount <= 1 << 16 else { throw .failed(VolumeError(.tooLarge)) }
      result.append(key)
    }
    return result
  }

  /// Writes an attribute.
  ///
  /// - Throws: `.tooLarge`; `.exists` and `.noAttribute` where the condition says so.
  private func put(
    _ key: XattrKey, _ value: [UInt8], _ condition: XattrCondition, _ inode: Inode,
    _ snapshot: UInt32
  ) throws(TransactionError) {
    let u64s = Xattr.encodedU64s(nameByteCount: key.name.count, valueByteCount: value.count)
    guard u64s <= BKey.maxValueU64s, key.name.count <= 255 else {
      throw .failed(VolumeError(.tooLarge))
    }
    let offset: UInt64
    switch try search(key, inode, snapshot, .intent, copies: false) {
    case .found(let found):
      if case .new = condition { throw .failed(VolumeError(.exists)) }
      offset = found.position.offset
    case .free(let free):
      if case .present = condition { throw .failed(VolumeError(.noAttribute)) }
      offset = free
    }
    do throws(FormatError) {
      try put(.xattrs, .xattr, BPos(inode.number, offset, snapshot), u64s) {
        (bytes) throws(FormatError) in
        _ = try Xattr.encode(
          type: key.type, name: key.name.rawBytes, value: value.rawBytes, into: &bytes)
      }
    } catch {
      throw .failed(VolumeError(error))
    }
  }

  /// Removes an attribute.
  ///
  /// - Returns: whether the inode had it.
  private func remove(
    _ key: XattrKey, _ inode: Inode, _ snapshot: UInt32
  ) throws(TransactionError) -> Bool {
    guard case .found(let found) = try search(key, inode, snapshot, .intent, copies: false) else {
      return false
    }
    let hash = NameHash(inode)
    try remove(
      from: table(inode, snapshot), at: found.position.offset,
      isInherited: found.position.snapshot != snapshot
    ) { (key) throws(TransactionError) in
      try key.decoded { (value) throws(FormatError) in
        let xattr = try Xattr(decoding: value)
        return hash.xattr(type: xattr.type, xattr.name)
      }
    }
    return true
  }

  /// Sets or removes an attribute that is no ACL.
  ///
  /// - Parameter value: nil: removes it.
  /// - Throws: `.notFound`; `.readOnly`; `.noAttribute`; `.exists`; `.tooLarge`; `.notPermitted`.
  func setXattr(
    _ key: XattrKey, of id: FileID, to value: [UInt8]?, _ condition: XattrCondition,
    _ setting: OperationSetting
  ) throws(TransactionError) {
    var (snapshot, inode) = try inodeToChange(id)
    try inode.checkMayChange()
    if let value {
      try put(key, value, condition, inode, snapshot)
    } else if try !remove(key, inode, snapshot) {
      throw .failed(VolumeError(.noAttribute))
    }
    inode.ctime = setting.now
    put(inode, snapshot)
  }

  // MARK: - ACLs

  /// A list that a file has, nil if it has none.
  ///
  /// - Throws: `.corrupt` for one that is none.
  func acl(
    _ key: XattrKey, _ inode: Inode, _ snapshot: UInt32, _ mode: LockMode
  ) throws(TransactionError) -> AccessControlList? {
    guard let bytes = try xattr(key, inode, snapshot, mode) else { return nil }
    guard let list = AccessControlList(disk: bytes) else {
      throw .failed(VolumeError(.corrupt, "inode \(inode.number) has an ACL that is none"))
    }
    return list.entries.isEmpty ? nil : list
  }

  func put(
    _ list: AccessControlList, _ key: XattrKey, _ inode: Inode, _ snapshot: UInt32
  ) throws(TransactionError) {
    try put(key, list.diskForm, .any, inode, snapshot)
  }

  /// Sets or removes an ACL; a file's mode follows its access ACL.
  ///
  /// - Parameters:
  ///   - list: nil, or one without entries: removes it.
  ///   - clearsSetGroup: With an access ACL, the set-group-ID bit goes.
  /// - Throws: `.accessDenied` for a default ACL of what is no directory; `.notPermitted` for an
  ///   immutable file; `.notFound`; `.readOnly`; `.tooLarge`.
  func setACL(
    _ key: XattrKey, of id: FileID, to list: AccessControlList?, clearsSetGroup: Bool,
    _ setting: OperationSetting
  ) throws(TransactionError) {
    var (snapshot, inode) = try inodeToChange(id)
    try inode.checkMayChange()
    let isDefault = key.type == Xattr.Kind.aclDefault
    guard list == nil || !isDefault || inode.isDirectory else {
      throw .failed(VolumeError(.accessDenied))
    }
    if !isDefault, let list {
      inode.mode = list.mode(inode.mode)
      if clearsSetGroup { inode.mode &= ~0o2000 }
    }
    if let list, isDefault || !list.isMode {
      try put(list, key, inode, snapshot)
    } else {
      _ = try remove(key, inode, snapshot)
    }
    inode.ctime = setting.now
    put(inode, snapshot)
  }
}
