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

extension VolumeServer {
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
    buffers.withBuffer(byteCount) { buffer in
      var list = EntryList(request: request, buffer: buffer, byteCount: byteCount)
      do throws(VolumeError) {
        if list.addDots(directory, from: start, isPlus: isPlus), start < UInt64(Int64.max) {
          try addNames(to: &list, directory, from: max(start, 2), isPlus)
        }
      } catch {
        // What stands before the damage is given out; the next request meets the damage first.
        if list.used == 0 { return fail(request, error, directory) }
      }
      request.reply(buffer.bytes.extracting(0..<list.used))
    }
  }

  private func addNames(
    to list: inout EntryList, _ directory: FileID, from start: UInt64, _ isPlus: Bool
  ) throws(VolumeError) {
    try volume.list(directory, from: start) { (name) throws(VolumeError) in
      guard EntryList.isShowable(name) else { return true }
      let next = Int64(clamping: name.nextOffset)
      guard isPlus else {
        return list.add(name.name, EntryList.status(of: name), next: next)
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
      entry.attr = EntryList.status(of: name)
      return entry
    }
  }
}
