// SPDX-License-Identifier: GPL-2.0
// What a file of a volume gets besides its contents: from a file of the host, from an archive, or
// from another directory of the volume.
//
// How it works
//   1. Extended attributes come first, since they move the change time only; then owner, mode and
//      times in one transaction. An ACL follows the mode, which says the same.
//   2. Directories get theirs when all in them is made: nothing inherits their default ACLs, and
//      nothing moves their times any more.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct NewAttributes: Sendable {
  var permissions: UInt16
  var uid: UInt32
  var gid: UInt32
  /// Nanoseconds since 1970; nil: as it is.
  var accessTime: Int64?
  /// Nanoseconds since 1970.
  var modificationTime: Int64
  var xattrs: [(name: [UInt8], value: [UInt8])] = []

  /// Those of a file of the host. What no volume can hold is left out.
  init(_ stat: HostStat, _ xattrs: [HostXattr]) {
    permissions = UInt16(truncatingIfNeeded: stat.mode & 0o7777)
    (uid, gid) = (stat.uid, stat.gid)
    accessTime = stat.accessTime
    modificationTime = stat.modificationTime
    self.xattrs = xattrs.lazy.filter { Self.isKept($0.name) }.map { ($0.name, $0.value) }
  }

  /// Those of a file of a volume.
  init(_ attributes: FileAttributes, of system: FileSystem) throws(VolumeError) {
    permissions = attributes.mode & 0o7777
    (uid, gid) = (attributes.inode.uid, attributes.inode.gid)
    accessTime = attributes.accessTime
    modificationTime = attributes.modificationTime
    for name in try system.xattrNames(of: attributes.id) where Self.isKept(name) {
      xattrs.append((name, try system.xattr(name, of: attributes.id)))
    }
  }

  /// Those of a file that is made from nothing else.
  init(permissions: UInt16, uid: UInt32, gid: UInt32, time: Int64) {
    self.permissions = permissions
    (self.uid, self.gid) = (uid, gid)
    modificationTime = time
  }

  /// What a file is made with, so that little is left to do.
  func creation(_ kind: FileKind, major: UInt32 = 0, minor: UInt32 = 0) -> FileCreation {
    var creation = FileCreation(kind, permissions: permissions)
    (creation.uid, creation.gid) = (uid, gid)
    (creation.deviceMajor, creation.deviceMinor) = (major, minor)
    return creation
  }

  /// Whether a volume keeps an attribute: an option of a file is no part of what is copied.
  static func isKept(_ name: [UInt8]) -> Bool {
    if name.elementsEqual(accessList) || name.elementsEqual(defaultList) { return true }
    return ["user.", "trusted.", "security."].contains { prefix in
      name.starts(with: prefix.utf8) && name.count > prefix.utf8.count
    }
  }

  static let accessList = Array("system.posix_acl_access".utf8)
  static let defaultList = Array("system.posix_acl_default".utf8)

  // MARK: - Given to a file

  /// Gives them to a file.
  ///
  /// - Parameter clearsLists: Whether the file may have ACLs of its directory, which these do not
  ///   have.
  func give(
    to id: FileID, of system: FileSystem, isDirectory: Bool, clearsLists: Bool
  ) throws(VolumeError) {
    if clearsLists {
      try clear(Self.accessList, id, system)
      if isDirectory { try clear(Self.defaultList, id, system) }
    }
    for xattr in xattrs { try system.setXattr(xattr.name, of: id, to: xattr.value) }
    var change = AttributeChange()
    change.permissions = permissions
    (change.uid, change.gid) = (uid, gid)
    (change.accessTime, change.modificationTime) = (accessTime, modificationTime)
    _ = try system.change(id, change)
  }

  /// Makes a directory that was there have these, and no other attributes.
  func replace(of id: FileID, _ system: FileSystem) throws(VolumeError) {
    for name in try system.xattrNames(of: id) where Self.isKept(name) {
      if !xattrs.contains(where: { $0.name == name }) { try system.removeXattr(name, of: id) }
    }
    try give(to: id, of: system, isDirectory: true, clearsLists: false)
  }

  private func clear(
    _ list: [UInt8], _ id: FileID, _ system: FileSystem
  ) throws(VolumeError) {
    guard !xattrs.contains(where: { $0.name == list }) else { return }
    try system.removeList(list, of: id)
  }
}

extension FileSystem {
  /// Removes an ACL, if there is one; a volume without ACLs has none.
  func removeList(_ list: [UInt8], of id: FileID) throws(VolumeError) {
    do throws(VolumeError) {
      try removeXattr(list, of: id)
    } catch {
      guard error.code == .noAttribute || error.code == .unsupported else { throw error }
    }
  }

  /// Whether what is made in a directory gets ACLs from it.
  func hasDefaultList(_ directory: FileID) throws(VolumeError) -> Bool {
    do throws(VolumeError) {
      _ = try xattr(NewAttributes.defaultList, of: directory)
      return true
    } catch {
      guard error.code == .noAttribute || error.code == .unsupported else { throw error }
      return false
    }
  }
}
