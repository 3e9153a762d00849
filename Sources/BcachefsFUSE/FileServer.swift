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
//   (1) Each request gets exactly one answer, whatever the engine throws.
//   (2) What the kernel was told of is held as often as it was told; each forget lets go as often
//       as it says.
// Locks: those of NodeTable and BufferPool, never across a call of the engine.
// Source: fuse_lowlevel.h, linux/fuse.h.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

final class FileServer: Sendable {
  /// Seconds: until it is unmounted.
  static let timeoutSeconds = 1e9
  private static let backgroundRequests: UInt32 = 64

  let system: FileSystem
  let nodes: NodeTable
  let blockBytes: Int
  let buffers: BufferPool
  let subvolumes = SubvolumeWork()
  let log: @Sendable (String) -> Void
  private let becameReady: @Sendable () -> Void
  private let firstRequest: @Sendable () -> Void
  let connection = ConnectionState()
  /// What the kernel may not have written back yet.
  let writers = OpenWriters()
  /// Whether room was short when somebody looked (FileServer+Space.swift).
  let isRoomShort = Atomic<Bool>(false)

  /// - Parameters:
  ///   - log: Called with what went wrong, on the thread of the request.
  ///   - becameReady: Called once the kernel and we agreed on how to talk.
  ///   - firstRequest: Called once, when the kernel acts on that.
  init(
    _ system: FileSystem, root: FileID, log: @escaping @Sendable (String) -> Void,
    becameReady: @escaping @Sendable () -> Void, firstRequest: @escaping @Sendable () -> Void
  ) {
    self.system = system
    self.log = log
    self.becameReady = becameReady
    self.firstRequest = firstRequest
    nodes = NodeTable(root: root)
    blockBytes = system.blockBytes
    buffers = BufferPool(bufferBytes: VolumeServer.maxReadBytes)
  }

  /// Settles with the kernel what it may do without asking.
  func begin(_ info: inout fuse_conn_info) {
    for flag in [
      FUSE_CAP_POSIX_ACL, FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_ASYNC_DIO,
      FUSE_CAP_ASYNC_READ, FUSE_CAP_READDIRPLUS, FUSE_CAP_READDIRPLUS_AUTO,
      FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_DONT_MASK, FUSE_CAP_IOCTL_DIR,
    ] where info.capable & UInt32(flag) != 0 {
      info.want |= UInt32(flag)
    }
    info.want &= ~UInt32(FUSE_CAP_AUTO_INVAL_DATA)
    info.max_read = UInt32(VolumeServer.maxReadBytes)
    info.max_write = UInt32(VolumeServer.maxReadBytes)
    info.max_background = Self.backgroundRequests
    info.congestion_threshold = Self.backgroundRequests
    info.time_gran = system.timePrecisionNanoseconds
    connection.settle(
      opensFiles: true, opensDirectories: info.capable & UInt32(FUSE_CAP_NO_OPENDIR_SUPPORT) == 0)
    becameReady()
  }

  // MARK: - Common to all requests

  /// The file of a node id, or the answer that there is none.
  func file(_ id: UInt64, _ request: Request) -> FileID? {
    if connection.isFirstRequest() { firstRequest() }
    guard let file = nodes.file(id) else {
      request.fail(ESTALE)
      return nil
    }
    return file
  }

  /// Calls `body` with the file of a node id; what it throws is the answer.
  func answer(
    _ request: Request, _ node: UInt64, _ body: (FileID) throws(VolumeError) -> Void
  ) {
    guard let file = file(node, request) else { return }
    do throws(VolumeError) { try body(file) } catch { fail(request, error, file) }
  }

  func fail(_ request: Request, _ error: VolumeError, _ file: FileID) {
    switch error.code {
    case .corrupt, .allCopiesBad, .device, .limit, .missingMembers, .poisoned:
      log("subvolume \(file.subvolume) inode \(file.inode): \(error)")
    default: break
    }
    request.fail(error.code.errno)
  }

  /// What the kernel gets with a name. The file is held for it.
  func entry(_ attributes: FileAttributes) -> fuse_entry_param {
    system.holdSeen(attributes.id)
    var entry = fuse_entry_param()
    entry.ino = nodes.remember(attributes.id)
    entry.generation = UInt64(attributes.inode.generation)
    entry.attr = attributes.status(blockBytes: blockBytes)
    entry.attr_timeout = attributesTimeout
    entry.entry_timeout = Self.timeoutSeconds
    return entry
  }

  func reply(_ request: Request, _ attributes: FileAttributes) {
    let entry = entry(attributes)
    if !request.reply(entry) { forget(entry.ino, count: 1) }
  }

  /// The kernel forgets a node as often as it was told of it.
  func forget(_ node: UInt64, count: UInt64) {
    guard node != NodeTable.rootID, let file = nodes.file(node) else { return }
    nodes.forget(node, count: count)
    do throws(VolumeError) { try system.letGo(file, count: count) } catch {
      log("subvolume \(file.subvolume) inode \(file.inode), while it was deleted: \(error)")
    }
  }
}
