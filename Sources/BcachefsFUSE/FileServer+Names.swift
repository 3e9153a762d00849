// SPDX-License-Identifier: GPL-2.0
// Names: looked up, made, removed, changed, listed.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

extension FileServer {
  func lookUp(_ request: Request, in parent: UInt64, _ name: [UInt8]) {
    guard let directory = file(parent, request) else { return }
    do throws(VolumeError) {
      reply(request, try system.lookup(name, in: directory))
    } catch {
      guard error.code == .notFound else { return fail(request, error, directory) }
      _ = request.reply(fuse_entry_param.missing)
    }
  }

  /// - Parameters:
  ///   - mode: As in `st_mode`.
  ///   - device: Of a device node.
  func makeNode(
    _ request: Request, in parent: UInt64, _ name: [UInt8], mode: mode_t, device: dev_t = 0
  ) {
    answer(request, parent) { (directory) throws(VolumeError) in
      guard let creation = request.creation(mode, device) else { return request.fail(EINVAL) }
      reply(
        request, try system.create(name, in: directory, creation, quotas: request.quotaRule))
    }
  }

  /// Makes a regular file, and opens it.
  func create(
    _ request: Request, in parent: UInt64, _ name: [UInt8], mode: mode_t,
    _ info: inout fuse_file_info
  ) {
    guard let directory = file(parent, request) else { return }
    do throws(VolumeError) {
      guard let creation = request.creation(mode & 0o7777 | 0o100000, 0) else {
        return request.fail(EINVAL)
      }
      let made = try system.create(name, in: directory, creation, quotas: request.quotaRule)
      let entry = entry(made)
      info.fh = Self.handle(info.flags, request)
      info.keep_cache = 1
      writers.add(entry.ino)
      noteRoom()
      guard !request.reply(entry, &info) else { return }
      writers.remove(entry.ino)
      forget(entry.ino, count: 1)
    } catch {
      fail(request, error, directory)
    }
  }

  func makeLink(_ request: Request, in parent: UInt64, _ name: [UInt8], to target: [UInt8]) {
    answer(request, parent) { (directory) throws(VolumeError) in
      guard let creation = request.creation(0o120777, 0) else { return request.fail(EINVAL) }
      reply(
        request,
        try system.makeLink(
          name, to: target, in: directory, creation, quotas: request.quotaRule))
    }
  }

  func link(_ request: Request, _ node: UInt64, as name: [UInt8], in parent: UInt64) {
    answer(request, parent) { (directory) throws(VolumeError) in
      guard let file = nodes.file(node) else { return request.fail(ESTALE) }
      reply(request, try system.link(file, as: name, in: directory))
    }
  }

  func remove(_ request: Request, in parent: UInt64, _ name: [UInt8], isDirectory: Bool) {
    answer(request, parent) { (directory) throws(VolumeError) in
      if isDirectory {
        try system.removeDirectory(name, in: directory)
      } else {
        try system.unlink(name, in: directory)
      }
      request.fail(0)
    }
  }

  func rename(
    _ request: Request, in parent: UInt64, _ name: [UInt8], to newParent: UInt64,
    _ newName: [UInt8], flags: UInt32
  ) {
    answer(request, parent) { (directory) throws(VolumeError) in
      guard let target = nodes.file(newParent) else { return request.fail(ESTALE) }
      var whiteout = FileCreation(.characterDevice, permissions: 0)
      if let creation = request.creation(0o020000, 0) { whiteout = creation }
      try system.rename(
        name, in: directory, to: newName, in: target, RenameFlags(rawValue: flags),
        whiteout: whiteout, quotas: request.quotaRule)
      request.fail(0)
    }
  }

  func readLink(_ request: Request, of node: UInt64) {
    answer(request, node) { (file) throws(VolumeError) in
      request.reply(link: try system.target(of: file))
    }
  }

  // MARK: - Listing

  func addNames(
    to list: inout EntryList, _ directory: FileID, from start: UInt64, _ isPlus: Bool
  ) throws(VolumeError) {
    var offset = start
    while true {
      let names = try system.entries(of: directory, from: offset)
      for name in names where EntryList.isShowable(name) {
        let next = Int64(clamping: name.nextOffset)
        guard isPlus else {
          guard list.add(name.name, EntryList.status(of: name), next: next) else { return }
          continue
        }
        let entry = entry(of: name)
        guard list.add(name.name, entry, next: next) else { return forget(entry.ino, count: 1) }
      }
      guard let last = names.last, last.nextOffset < UInt64(Int64.max) else { return }
      offset = last.nextOffset
    }
  }

  /// A name with all that lookups give; the name alone of one that leads nowhere, or is gone by
  /// now.
  private func entry(of name: DirectoryEntry) -> fuse_entry_param {
    do throws(VolumeError) { return entry(try system.attributes(of: name.id)) } catch {
      return .name(name)
    }
  }
}

extension Request {
  /// What a request that makes something says of it; nil for a kind that there is not.
  fileprivate func creation(_ mode: mode_t, _ device: dev_t) -> FileCreation? {
    guard let kind = FileKind(rawValue: UInt16(truncatingIfNeeded: mode & 0o170000)) else {
      return nil
    }
    var creation = FileCreation(kind, permissions: UInt16(truncatingIfNeeded: mode & 0o7777))
    if let context = unsafe fuse_req_ctx(handle) {
      creation.uid = unsafe context.pointee.uid
      creation.gid = unsafe context.pointee.gid
      creation.umask = UInt16(truncatingIfNeeded: unsafe context.pointee.umask & 0o777)
    }
    creation.deviceMajor = cfuse_device_major(device)
    creation.deviceMinor = cfuse_device_minor(device)
    return creation
  }
}
