// SPDX-License-Identifier: GPL-2.0
// What answers the kernel's requests: of a volume that is only read (VolumeServer), or of one that
// is open for changes (FileServer).
//
// How it works
//   1. `Operations` is libfuse's table of what both answer, `FileOperations` adds changes. An entry
//      finds the server by the session's pointer, and calls it.
//   2. Here is what both do alike: node ids become files, failures become errnos, and a listing
//      fills a buffer.
//   3. In a directory offset 0 is before ".", 1 before "..", and from 2 on an offset is the
//      engine's: the place of the next name by its hash, which is the same in every listing. A list
//      ends when the buffer is full; the kernel asks on from the offset behind the last name.
// Invariants
//   (1) Each request gets exactly one answer, whatever the engine throws.
//   (2) Every listing ends: offsets ascend, and at the largest there is nothing more.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

protocol RequestServer: AnyObject, Sendable {
  var nodes: NodeTable { get }
  var buffers: BufferPool { get }
  var connection: ConnectionState { get }
  /// Takes what went wrong, on the thread of the request.
  var log: @Sendable (String) -> Void { get }
  /// Whether what the format has and we do not is worth a line, beside the answer.
  var logsUnsupported: Bool { get }

  /// Settles with the kernel what it may do without asking.
  func begin(_ info: inout fuse_conn_info)
  /// The kernel can be told something until `end`.
  func begin(_ session: OpaquePointer)
  /// Nothing is asked for any more, and the session goes.
  func end()

  /// The kernel forgets a node as often as it was told of it.
  func forget(_ node: UInt64, count: UInt64)
  func getUsage(_ request: Request)
  func lookUp(_ request: Request, in parent: UInt64, _ name: [UInt8])
  func readLink(_ request: Request, of node: UInt64)
  /// - Parameter handle: Of who has the file open; nil where that does not matter.
  func getAttributes(_ request: Request, of node: UInt64, handle: UInt64?)
  func getXattr(_ request: Request, of node: UInt64, _ name: [UInt8], room: Int)
  func listXattrs(_ request: Request, of node: UInt64, room: Int)
  /// Adds a directory's names from a place on, until the list is full.
  func addNames(
    to list: inout EntryList, _ directory: FileID, from start: UInt64, _ isPlus: Bool
  ) throws(VolumeError)
  func open(_ request: Request, _ node: UInt64, _ info: inout fuse_file_info)
  /// The kernel lets go of what `open` gave it.
  func close(_ node: UInt64, _ info: fuse_file_info)
  func read(_ request: Request, of node: UInt64, byteCount: Int, from offset: Int64)
  func seek(_ request: Request, in node: UInt64, from offset: Int64, _ kind: Int32)
}

/// What lseek(2) looks for; behind _GNU_SOURCE, which the import of the C library does not define.
enum SeekKind {
  static let data: Int32 = 3
  static let hole: Int32 = 4
}

extension RequestServer {
  /// The file of a node id, or the answer that there is none.
  func file(_ id: UInt64, _ request: Request) -> FileID? {
    connection.noteRequest()
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
    case .corrupt, .allCopiesBad, .device, .limit, .missingMembers, .poisoned: note(error, file)
    case .unsupported where logsUnsupported: note(error, file)
    default: break
    }
    request.fail(error.code.errno)
  }

  func note(_ error: VolumeError, _ file: FileID) {
    log("subvolume \(file.subvolume) inode \(file.inode): \(error)")
  }

  // MARK: - Directories

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
}
