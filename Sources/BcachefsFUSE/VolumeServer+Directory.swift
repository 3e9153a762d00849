// SPDX-License-Identifier: GPL-2.0
// Directories: lists of names, with or without attributes.
//
// Invariants
//   (1) What the kernel got with attributes it forgets again: names that did not fit are not
//       counted.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

extension VolumeServer {
  func addNames(
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

  /// A name with all that lookups give; the name alone of one that leads nowhere.
  private func entry(of name: DirectoryEntry) -> fuse_entry_param {
    do throws(VolumeError) { return entry(try attributes(ofNamed: name.id)) } catch {
      note(error, name.id)
      return .name(name)
    }
  }
}
