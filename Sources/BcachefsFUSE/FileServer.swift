// SPDX-License-Identifier: GPL-2.0
// Answers the kernel's requests from a volume that is open for changes.
//
// How it works
//   1. Every request is answered on the thread that received it, by calls of the engine.
//   2. Nobody changes the volume but through this mount: so the kernel may keep names, missing ones
//      too, attributes and contents as long as it likes, and keeps what is written to files until
//      it wants (`FUSE_CAP_WRITEBACK_CACHE`).
//   3. What the kernel knows of it holds: a file whose last name goes stays until the kernel has
//      forgotten it, which it does when nobody has it open any more.
//   4. Permissions are the kernel's to check, access control lists included.
// Invariants
//   (1) What the kernel was told of is held as often as it was told; each forget lets go as often
//       as it says.
// Locks: those of NodeTable and BufferPool, never across a call of the engine.
// Source: fuse_lowlevel.h, linux/fuse.h.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

final class FileServer: RequestServer {
  private static let backgroundRequests: UInt32 = 64

  let system: FileSystem
  let nodes: NodeTable
  let blockBytes: Int
  let buffers: BufferPool
  let subvolumes = SubvolumeWork()
  let log: @Sendable (String) -> Void
  let connection: ConnectionState
  let kernel = KernelNotices()
  /// What the kernel may not have written back yet.
  let writers: OpenWriters
  /// Whether room was short when somebody looked (FileServer+Space.swift).
  let isRoomShort = Atomic<Bool>(false)

  /// - Parameter log: Called with what went wrong, on the thread of the request.
  init(
    _ system: FileSystem, root: FileID, _ connection: ConnectionState,
    log: @escaping @Sendable (String) -> Void
  ) {
    self.system = system
    self.log = log
    self.connection = connection
    writers = OpenWriters(kernel)
    nodes = NodeTable(root: root)
    blockBytes = system.blockBytes
    buffers = BufferPool(bufferBytes: ConnectionState.maxTransferBytes)
  }

  // What it asks for may be more than we know; that is answered, and no damage.
  var logsUnsupported: Bool { false }

  func begin(_ info: inout fuse_conn_info) {
    connection.settle(
      &info,
      ConnectionState.Offer(
        flags: [FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_DONT_MASK, FUSE_CAP_IOCTL_DIR],
        backgroundRequests: Self.backgroundRequests,
        timePrecisionNanoseconds: system.timePrecisionNanoseconds, mustOpenFiles: true))
  }

  func begin(_ session: OpaquePointer) {
    unsafe kernel.begin(session)
    subvolumes.begin()
  }

  func end() {
    subvolumes.end()
    kernel.end()
  }

  // MARK: - Common to all requests

  /// What the kernel gets with a name. The file is held for it.
  func entry(_ attributes: FileAttributes) -> fuse_entry_param {
    system.holdSeen(attributes.id)
    let node = nodes.remember(attributes.id)
    let timeout = timeout(of: attributes)
    writers.noteTold(node, sectors: attributes.inode.sectors, isKept: timeout > 0)
    return fuse_entry_param(
      node: node, attributes, blockBytes: blockBytes, attributesTimeout: timeout)
  }

  func reply(_ request: Request, _ attributes: FileAttributes) {
    let entry = entry(attributes)
    if !request.reply(entry) { forget(entry.ino, count: 1) }
  }

  func forget(_ node: UInt64, count: UInt64) {
    guard node != NodeTable.rootID, let file = nodes.file(node) else { return }
    nodes.forget(node, count: count)
    do throws(VolumeError) { try system.letGo(file, count: count) } catch {
      log("subvolume \(file.subvolume) inode \(file.inode), while it was deleted: \(error)")
    }
  }
}
