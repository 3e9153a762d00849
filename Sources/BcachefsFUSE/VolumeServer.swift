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
//   (1) Each request gets exactly one answer, whatever the engine throws.
//   (2) A name is reported missing only if the directory says so: a name whose inode is missing is
//       damage, and never remembered as missing.
// Locks: those of NodeTable, ReaderPool, BufferPool and `space`, never across a call of the engine.
// Source: fuse_lowlevel.h, linux/fuse.h.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

final class VolumeServer: Sendable {
  /// The longest read the kernel asks for.
  static let maxReadBytes = 1 << 20
  /// Seconds: until it is unmounted.
  static let timeoutSeconds = 1e9
  private static let backgroundRequests: UInt32 = 32
  // Behind _GNU_SOURCE, which the import of the C library does not define.
  private static let seekData: Int32 = 3
  private static let seekHole: Int32 = 4

  let volume: Volume
  let nodes: NodeTable
  let blockBytes: Int
  let readers: ReaderPool
  let buffers: BufferPool
  let log: @Sendable (String) -> Void
  private let becameReady: @Sendable () -> Void
  private let firstRequest: @Sendable () -> Void
  let connection = ConnectionState()
  /// What statfs tells, once it was asked.
  let space = Mutex<statvfs?>(nil)

  /// - Parameters:
  ///   - log: Called with what went wrong, on the thread of the request.
  ///   - becameReady: Called once the kernel and we agreed on how to talk.
  ///   - firstRequest: Called once, when the kernel acts on that.
  init(
    _ volume: Volume, root: FileID, log: @escaping @Sendable (String) -> Void,
    becameReady: @escaping @Sendable () -> Void, firstRequest: @escaping @Sendable () -> Void
  ) {
    self.volume = volume
    self.log = log
    self.becameReady = becameReady
    self.firstRequest = firstRequest
    nodes = NodeTable(root: root)
    blockBytes = max(Int(volume.superblock.blockSizeSectors) * 512, 512)
    readers = ReaderPool(volume)
    buffers = BufferPool(bufferBytes: Self.maxReadBytes)
  }

  /// Settles with the kernel what it may do without asking.
  func begin(_ info: inout fuse_conn_info) {
    func isOffered(_ flag: Int32) -> Bool { info.capable & UInt32(flag) != 0 }
    for flag in [
      FUSE_CAP_POSIX_ACL, FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_ASYNC_DIO,
      FUSE_CAP_ASYNC_READ, FUSE_CAP_READDIRPLUS, FUSE_CAP_READDIRPLUS_AUTO,
    ] where isOffered(flag) {
      info.want |= UInt32(flag)
    }
    info.want &= ~UInt32(FUSE_CAP_AUTO_INVAL_DATA)
    info.max_read = UInt32(Self.maxReadBytes)
    info.max_background = Self.backgroundRequests
    info.congestion_threshold = Self.backgroundRequests
    info.time_gran = max(volume.superblock.timePrecision, 1)
    connection.settle(
      opensFiles: !isOffered(FUSE_CAP_NO_OPEN_SUPPORT),
      opensDirectories: !isOffered(FUSE_CAP_NO_OPENDIR_SUPPORT))
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

  func fail(_ request: Request, _ error: VolumeError, _ file: FileID) {
    switch error.code {
    case .corrupt, .allCopiesBad, .device, .limit, .missingMembers, .poisoned, .unsupported:
      log("subvolume \(file.subvolume) inode \(file.inode): \(error)")
    default: break
    }
    request.fail(error.code.errno)
  }

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
    var entry = fuse_entry_param()
    entry.ino = nodes.remember(attributes.id)
    entry.generation = UInt64(attributes.inode.generation)
    entry.attr = attributes.status(blockBytes: blockBytes)
    entry.attr_timeout = Self.timeoutSeconds
    entry.entry_timeout = Self.timeoutSeconds
    return entry
  }

  // MARK: - Names and attributes

  func lookUp(_ request: Request, in parent: UInt64, _ name: [UInt8]) {
    guard let directory = file(parent, request) else { return }
    let found: FileID
    do throws(VolumeError) {
      found = try volume.lookup(name, in: directory)
    } catch {
      guard error.code == .notFound else { return fail(request, error, directory) }
      // Node id 0: there is no such name, and that may be remembered.
      var missing = fuse_entry_param()
      missing.entry_timeout = Self.timeoutSeconds
      _ = request.reply(missing)
      return
    }
    do throws(VolumeError) {
      let entry = entry(try attributes(ofNamed: found))
      if !request.reply(entry) { nodes.forget(entry.ino, count: 1) }
    } catch {
      fail(request, error, found)
    }
  }

  func getAttributes(_ request: Request, of node: UInt64) {
    guard let file = file(node, request) else { return }
    do throws(VolumeError) {
      let status = try volume.attributes(file).status(blockBytes: blockBytes)
      request.reply(status, timeoutSeconds: Self.timeoutSeconds)
    } catch {
      fail(request, error, file)
    }
  }

  func readLink(_ request: Request, of node: UInt64) {
    guard let file = file(node, request) else { return }
    do throws(VolumeError) {
      request.reply(link: try volume.readLink(file))
    } catch {
      fail(request, error, file)
    }
  }

  // MARK: - Extended attributes

  func getXattr(_ request: Request, of node: UInt64, _ name: [UInt8], room: Int) {
    guard let file = file(node, request) else { return }
    do throws(VolumeError) {
      guard let value = try volume.xattr(name, of: file) else { return request.fail(ENODATA) }
      request.reply(attribute: value, room: room)
    } catch {
      fail(request, error, file)
    }
  }

  func listXattrs(_ request: Request, of node: UInt64, room: Int) {
    guard let file = file(node, request) else { return }
    do throws(VolumeError) {
      var list: [UInt8] = []
      for xattr in try volume.xattrs(file) {
        // As on any filesystem: these are root's.
        if xattr.name.starts(with: "trusted.".utf8) && !request.isFromRoot { continue }
        list += xattr.name
        list.append(0)
      }
      request.reply(attribute: list, room: room)
    } catch {
      fail(request, error, file)
    }
  }

  // MARK: - Contents

  func open(_ request: Request, _ info: inout fuse_file_info) {
    guard info.flags & O_ACCMODE == O_RDONLY else { return request.fail(EROFS) }
    guard connection.opensFiles else { return request.fail(ENOSYS) }
    info.keep_cache = 1
    _ = unsafe fuse_reply_open(request.handle, &info)
  }

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
    guard kind == Self.seekData || kind == Self.seekHole else { return request.fail(EINVAL) }
    do throws(VolumeError) {
      let found = try readers.withReader(of: file) { (handle) throws(VolumeError) -> UInt64? in
        let size = handle.inode.size
        guard start < size else { return nil }
        let found =
          kind == Self.seekData
          ? try Self.firstData(handle, from: start) : try Self.firstHole(handle, from: start)
        guard let found, found < size else { return kind == Self.seekHole ? size : nil }
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
