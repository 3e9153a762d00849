// SPDX-License-Identifier: GPL-2.0
// Directories: lists of names, with or without attributes.
//
// How it works
//   1. Offset 0 is before ".", 1 before "..", and from 2 on an offset is the engine's: the place of
//      the next name by its hash, which is the same in every listing.
//   2. A list ends when the buffer is full; the kernel asks on from the offset behind the last
//      name.
// Invariants
//   (1) Every listing ends: offsets ascend, and at the largest there is nothing more.
//   (2) What the kernel got with attributes it forgets again: names that did not fit are not
//       counted.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

/// A buffer that fills with entries.
private struct EntryList {
  let request: Request
  let buffer: HeapBuffer
  let byteCount: Int
  var used = 0

  /// - Returns: false if it does not fit.
  mutating func add(_ name: [UInt8], _ status: stat, next: Int64) -> Bool {
    var status = status
    let handle = unsafe request.handle
    return unsafe take { (room, byteCount) in
      unsafe name.withUnsafeBytes { name in
        unsafe cfuse_add_entry(
          handle, room, byteCount, name.baseAddress, name.count, &status, off_t(next))
      }
    }
  }

  /// The same with all attributes.
  mutating func add(_ name: [UInt8], _ entry: fuse_entry_param, next: Int64) -> Bool {
    var entry = entry
    let handle = unsafe request.handle
    return unsafe take { (room, byteCount) in
      unsafe name.withUnsafeBytes { name in
        unsafe cfuse_add_entry_plus(
          handle, room, byteCount, name.baseAddress, name.count, &entry, off_t(next))
      }
    }
  }

  private mutating func take(_ body: (UnsafeMutablePointer<CChar>?, Int) -> Int) -> Bool {
    var all = buffer.mutableBytes
    let start = used
    let end = byteCount
    let size = unsafe all.withUnsafeMutableBytes { bytes in
      let base = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
      return unsafe body(base.map { unsafe $0 + start }, end - start)
    }
    guard size <= end - start else { return false }
    used += size
    return true
  }
}

extension VolumeServer {
  /// As in `struct dirent`.
  private static let directoryType: UInt8 = 4

  func openDirectory(_ request: Request, _ info: inout fuse_file_info) {
    guard connection.opensDirectories else { return request.fail(ENOSYS) }
    info.cache_readdir = 1
    info.keep_cache = 1
    _ = unsafe fuse_reply_open(request.handle, &info)
  }

  /// - Parameter isPlus: Whether each name comes with its attributes.
  func readDirectory(
    _ request: Request, _ node: UInt64, byteCount: Int, from offset: Int64, isPlus: Bool
  ) {
    guard let directory = file(node, request) else { return }
    guard let start = UInt64(exactly: offset) else { return request.fail(EINVAL) }
    readers.withBuffer(byteCount) { buffer in
      var list = EntryList(request: request, buffer: buffer, byteCount: byteCount)
      do throws(VolumeError) {
        if addDots(to: &list, directory, from: start, isPlus), start < UInt64(Int64.max) {
          try addNames(to: &list, directory, from: max(start, 2), isPlus)
        }
      } catch {
        // What stands before the damage is given out; the next request meets the damage first.
        if list.used == 0 { return fail(request, error, directory) }
      }
      request.reply(buffer.bytes.extracting(0..<list.used))
    }
  }

  /// - Returns: false if the buffer is full.
  private func addDots(
    to list: inout EntryList, _ directory: FileID, from start: UInt64, _ isPlus: Bool
  ) -> Bool {
    for (index, name) in [".", ".."].enumerated() where start <= UInt64(index) {
      var status = stat()
      status.st_ino = UInt(NodeTable.visibleNumber(directory))
      status.st_mode = UInt32(Self.directoryType) << 12
      let next = Int64(index) + 1
      var entry = fuse_entry_param()
      entry.attr = status
      let fits =
        isPlus
        ? list.add(Array(name.utf8), entry, next: next)
        : list.add(Array(name.utf8), status, next: next)
      guard fits else { return false }
    }
    return true
  }

  private func addNames(
    to list: inout EntryList, _ directory: FileID, from start: UInt64, _ isPlus: Bool
  ) throws(VolumeError) {
    try volume.list(directory, from: start) { (name) throws(VolumeError) in
      guard Self.isShowable(name) else { return true }
      let next = Int64(clamping: name.nextOffset)
      guard isPlus else {
        return list.add(name.name, Self.status(of: name), next: next)
      }
      let entry = entry(of: name)
      let fits = list.add(name.name, entry, next: next)
      if !fits { nodes.forget(entry.ino, count: 1) }
      return fits
    }
  }

  /// A name with all that lookups give. Of one that leads nowhere the name alone, without a node:
  /// to look it up then fails.
  private func entry(of name: DirectoryEntry) -> fuse_entry_param {
    do throws(VolumeError) {
      return entry(try attributes(ofNamed: name.id))
    } catch {
      log("subvolume \(name.id.subvolume) inode \(name.id.inode): \(error)")
      var entry = fuse_entry_param()
      entry.attr = Self.status(of: name)
      return entry
    }
  }

  /// What plain readdir tells: number and type.
  private static func status(of name: DirectoryEntry) -> stat {
    var status = stat()
    status.st_ino = UInt(NodeTable.visibleNumber(name.id))
    let type = name.type == Dirent.subvolumeType ? directoryType : name.type
    status.st_mode = UInt32(type) << 12
    return status
  }

  /// Whether the kernel takes a name: one bad name would cost the whole list.
  private static func isShowable(_ entry: DirectoryEntry) -> Bool {
    entry.isUsable && entry.name.count <= Int(CFUSE_NAME_MAX)
  }
}
