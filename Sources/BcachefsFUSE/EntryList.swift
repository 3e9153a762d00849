// SPDX-License-Identifier: GPL-2.0
// A part of a directory's listing, as the kernel gets it.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

/// A buffer that fills with entries.
struct EntryList {
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

extension EntryList {
  /// As in `struct dirent`.
  private static let directoryType: UInt8 = 4

  /// - Returns: false if the buffer is full.
  mutating func addDots(_ directory: FileID, from start: UInt64, isPlus: Bool) -> Bool {
    for (index, name) in [".", ".."].enumerated() where start <= UInt64(index) {
      var status = stat()
      status.st_ino = UInt(NodeTable.visibleNumber(directory))
      status.st_mode = UInt32(Self.directoryType) << 12
      let next = Int64(index) + 1
      var entry = fuse_entry_param()
      entry.attr = status
      let fits =
        isPlus
        ? add(Array(name.utf8), entry, next: next)
        : add(Array(name.utf8), status, next: next)
      guard fits else { return false }
    }
    return true
  }

  /// What plain readdir tells: number and type.
  static func status(of name: DirectoryEntry) -> stat {
    var status = stat()
    status.st_ino = UInt(NodeTable.visibleNumber(name.id))
    let type = name.type == Dirent.subvolumeType ? directoryType : name.type
    status.st_mode = UInt32(type) << 12
    return status
  }

  /// Whether the kernel takes a name: one bad name would cost the whole list.
  static func isShowable(_ entry: DirectoryEntry) -> Bool {
    entry.isUsable && entry.name.count <= Int(CFUSE_NAME_MAX)
  }
}
