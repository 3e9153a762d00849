// SPDX-License-Identifier: GPL-2.0
// Answers the kernel's requests from a volume: names, attributes, contents.
//
// How it works
//   1. Every request is answered on the thread that received it, by calls of the engine.
//   2. The volume does not change while it is mounted: the kernel may keep names (missing ones
//      too), attributes, directories and contents as long as it likes, and opens files without
//      asking.
//   3. Permissions are the kernel's to check, access control lists included, which it reads as
//      extended attributes.
// Invariants
//   (1) A name is reported missing only if the directory says so: a name whose inode is missing is
//       damage, and never remembered as missing.
// Locks: those of NodeTable, ReaderPool, BufferPool and `space`, never across a call of the engine.
// Source: fuse_lowlevel.h, linux/fuse.h.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

final class VolumeServer: RequestServer {
  private static let backgroundRequests: UInt32 = 32

  let volume: Volume
  let nodes: NodeTable
  let blockBytes: Int
  let readers: ReaderPool
  let buffers: BufferPool
  let log: @Sendable (String) -> Void
  let connection: ConnectionState
  /// What statfs tells, once it was asked.
  let space = Mutex<statvfs?>(nil)

  /// - Parameter log: Called with what went wrong, on the thread of the request.
  init(
    _ volume: Volume, root: FileID, _ connection: ConnectionState,
    log: @escaping @Sendable (String) -> Void
  ) {
    self.volume = volume
    self.log = log
    self.connection = connection
    nodes = NodeTable(root: root)
    blockBytes = max(Int(volume.superblock.blockSizeSectors) * 512, 512)
    readers = ReaderPool(volume)
    buffers = BufferPool(bufferBytes: ConnectionState.maxTransferBytes)
  }

  var logsUnsupported: Bool { true }

  func begin(_ info: inout fuse_conn_info) {
    connection.settle(
      &info,
      ConnectionState.Offer(
        backgroundRequests: Self.backgroundRequests,
        timePrecisionNanoseconds: max(volume.superblock.timePrecision, 1), mustOpenFiles: false))
  }

  // The kernel is told nothing: nothing changes.
  func begin(_ session: OpaquePointer) {}
  func end() {}

  // MARK: - Common to all requests

  /// A file that a directory names, as the kernel is told of it.
  ///
  /// - Throws: `.corrupt` where the name leads nowhere, and what reading its inode throws.
  func attributes(ofNamed file: FileID) throws(VolumeError) -> FileAttributes {
    do throws(VolumeError) {
      return try volume.attributes(file)
    } catch {
      guard error.code == .notFound else { throw error }
      throw VolumeError(.corrupt, "a name leads to it and it is missing: \(error)")
    }
  }

  /// What the kernel gets with a name. It counts as known to the kernel.
  func entry(_ attributes: FileAttributes) -> fuse_entry_param {
    fuse_entry_param(node: nodes.remember(attributes.id), attributes, blockBytes: blockBytes)
  }

  func forget(_ node: UInt64, count: UInt64) { nodes.forget(node, count: count) }

  // MARK: - Names and attributes

  func lookUp(_ request: Request, in parent: UInt64, _ name: [UInt8]) {
    guard let directory = file(parent, request) else { return }
    let found: FileID
    do throws(VolumeError) {
      found = try volume.lookup(name, in: directory)
    } catch {
      guard error.code == .notFound else { return fail(request, error, directory) }
      _ = request.reply(fuse_entry_param.missing)
      return
    }
    do throws(VolumeError) {
      let entry = entry(try attributes(ofNamed: found))
      if !request.reply(entry) { nodes.forget(entry.ino, count: 1) }
    } catch {
      fail(request, error, found)
    }
  }

  func getAttributes(_ request: Request, of node: UInt64, handle: UInt64?) {
    answer(request, node) { (file) throws(VolumeError) in
      request.reply(
        try volume.attributes(file).status(blockBytes: blockBytes),
        timeoutSeconds: fuse_entry_param.timeoutSeconds)
    }
  }

  func readLink(_ request: Request, of node: UInt64) {
    answer(request, node) { (file) throws(VolumeError) in
      request.reply(link: try volume.readLink(file))
    }
  }

  // MARK: - Extended attributes

  func getXattr(_ request: Request, of node: UInt64, _ name: [UInt8], room: Int) {
    answer(request, node) { (file) throws(VolumeError) in
      guard let value = try volume.xattr(name, of: file) else { return request.fail(ENODATA) }
      request.reply(attribute: value, room: room)
    }
  }

  func listXattrs(_ request: Request, of node: UInt64, room: Int) {
    answer(request, node) { (file) throws(VolumeError) in
      request.reply(attributes: try volume.xattrs(file).map(\.name), room: room)
    }
  }

  // MARK: - Contents

  func open(_ request: Request, _ node: UInt64, _ info: inout fuse_file_info) {
    guard info.flags & O_ACCMODE == O_RDONLY else { return request.fail(EROFS) }
    guard connection.opensFiles else { return request.fail(ENOSYS) }
    info.keep_cache = 1
    _ = unsafe fuse_reply_open(request.handle, &info)
  }

  func close(_ node: UInt64, _ info: fuse_file_info) {}

  func read(_ request: Request, of node: UInt64, byteCount: Int, from offset: Int64) {
    guard let file = file(node, request) else { return }
    guard let offset = UInt64(exactly: offset) else { return request.fail(EINVAL) }
    buffers.withBuffer(byteCount) { buffer in
      do throws(VolumeError) {
        let count = try readers.withReader(of: file) { (handle) throws(VolumeError) in
          var all = buffer.mutableBytes
          var target = all._mutatingExtracting(0..<byteCount)
          return try handle.read(from: offset, into: &target)
        }
        request.reply(buffer.bytes.extracting(0..<count))
      } catch {
        fail(request, error, file)
      }
    }
  }

  func seek(_ request: Request, in node: UInt64, from offset: Int64, _ kind: Int32) {
    guard let file = file(node, request) else { return }
    guard let start = UInt64(exactly: offset) else { return request.fail(ENXIO) }
    guard kind == SeekKind.data || kind == SeekKind.hole else { return request.fail(EINVAL) }
    do throws(VolumeError) {
      let found = try readers.withReader(of: file) { (handle) throws(VolumeError) -> UInt64? in
        let size = handle.inode.size
        guard start < size else { return nil }
        let found =
          kind == SeekKind.data
          ? try Self.firstData(handle, from: start) : try Self.firstHole(handle, from: start)
        guard let found, found < size else { return kind == SeekKind.hole ? size : nil }
        return found
      }
      guard let found, let result = Int64(exactly: found) else { return request.fail(ENXIO) }
      request.reply(offset: result)
    } catch {
      fail(request, error, file)
    }
  }

  private static func firstData(
    _ handle: FileHandle, from start: UInt64
  ) throws(VolumeError) -> UInt64? {
    var found: UInt64?
    try handle.forEachDataRange(from: start) { (range) throws(VolumeError) in
      guard range.upperBound > start else { return true }
      found = max(range.lowerBound, start)
      return false
    }
    return found
  }

  private static func firstHole(
    _ handle: FileHandle, from start: UInt64
  ) throws(VolumeError) -> UInt64? {
    var end = start
    try handle.forEachDataRange(from: start) { (range) throws(VolumeError) in
      guard range.lowerBound <= end, end < handle.inode.size else { return false }
      end = max(end, range.upperBound)
      return true
    }
    return end
  }
}
