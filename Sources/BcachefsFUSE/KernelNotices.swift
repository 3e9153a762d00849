// SPDX-License-Identifier: GPL-2.0
// What the kernel is told without having asked.
//
// Locks: `session` is a leaf; the kernel is told with nothing held. Some of it waits until requests
// are answered that the kernel makes meanwhile.
// Source: fuse_lowlevel.h (fuse_lowlevel_notify_inval_inode, fuse_lowlevel_notify_inval_entry).

internal import CFUSE
internal import Synchronization

final class KernelNotices: Sendable {
  /// A libfuse session's address, 0 for none. It may be used by any thread until it is destroyed.
  private let session = Mutex<UInt>(0)

  /// From now on the kernel can be told something.
  func begin(_ session: OpaquePointer) {
    let address = UInt(bitPattern: session)
    self.session.withLock { $0 = address }
  }

  /// The session goes.
  func end() { session.withLock { $0 = 0 } }

  /// Has the kernel ask for a file's attributes anew.
  func forgetAttributes(of node: UInt64) { forget(node, from: -1) }

  /// Has the kernel drop the contents that it has of a file from an offset on, or of a directory
  /// its list, and its attributes. What it had to write it writes first.
  func forgetContents(of node: UInt64, from offset: Int64 = 0) { forget(node, from: offset) }

  private func forget(_ node: UInt64, from offset: Int64) {
    guard let session = unsafe pointer() else { return }
    _ = unsafe fuse_lowlevel_notify_inval_inode(session, node, off_t(offset), 0)
  }

  /// Has the kernel forget a name, whether it is there or missing, and its directory's list.
  func forgetName(_ name: [UInt8], in parent: UInt64) {
    forgetContents(of: parent)
    guard let session = unsafe pointer() else { return }
    let text = name.map { CChar(bitPattern: $0) } + [0]
    _ = unsafe text.withUnsafeBufferPointer { text in
      guard let start = text.baseAddress else { return Int32(0) }
      return unsafe fuse_lowlevel_notify_inval_entry(session, parent, start, name.count)
    }
  }

  private func pointer() -> OpaquePointer? {
    unsafe OpaquePointer(bitPattern: session.withLock { $0 })
  }
}
