// SPDX-License-Identifier: GPL-2.0
// Contents of files.
//
// How it works
//   1. The kernel's page cache has contents; what comes here are its reads ahead and its writing
//      back, up to a mebibyte each, and what programs read and write past it.
//   2. Nothing of this changes times: the kernel, which writes back, has those of regular files and
//      sets them itself. Where both did, what it had told before could be overwritten.
//   3. A close need not be told (`flush` answers that there is no such thing): nothing is done at
//      one.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc
internal import Synchronization

extension FileServer {
  // Behind _GNU_SOURCE, which the import of the C library does not define.
  private static var keepSize: Int32 { 0x01 }
  private static var punchHole: Int32 { 0x02 }
  private static var collapseRange: Int32 { 0x08 }
  private static var zeroRange: Int32 { 0x10 }
  private static var insertRange: Int32 { 0x20 }

  func open(_ request: Request, _ node: UInt64, _ info: inout fuse_file_info) {
    guard let file = file(node, request) else { return }
    if info.flags & O_ACCMODE != O_RDONLY {
      do throws(VolumeError) {
        try system.checkMayChange(file, onlyGrows: info.flags & O_APPEND != 0)
      } catch {
        return fail(request, error, file)
      }
      writers.add(node)
      noteRoom()
      // What it knows of the file may be from before.
      if isRoomShort.load(ordering: .relaxed) { kernel.forgetAttributes(of: node) }
      noteQuota(node, file)
    }
    info.fh = Self.handle(info.flags, request)
    info.keep_cache = 1
    guard unsafe fuse_reply_open(request.handle, &info) != 0 else { return }
    close(node, info)
  }

  func close(_ node: UInt64, _ info: fuse_file_info) {
    if info.flags & O_ACCMODE != O_RDONLY { writers.remove(node) }
  }

  func read(_ request: Request, of node: UInt64, byteCount: Int, from offset: Int64) {
    guard let file = file(node, request) else { return }
    guard let offset = UInt64(exactly: offset) else { return request.fail(EINVAL) }
    buffers.withBuffer(byteCount) { buffer in
      do throws(VolumeError) {
        var all = buffer.mutableBytes
        var target = all._mutatingExtracting(0..<byteCount)
        let count = try system.read(file, from: offset, into: &target)
        request.reply(buffer.bytes.extracting(0..<count))
      } catch {
        fail(request, error, file)
      }
    }
  }

  /// - Parameters:
  ///   - handle: Of the file that is written to; where the kernel writes back, any of those.
  ///   - isFromCache: Whether the kernel writes back what it had.
  func write(
    _ request: Request, to node: UInt64, handle: UInt64, _ bytes: RawSpan, at offset: Int64,
    isFromCache: Bool
  ) {
    guard let file = file(node, request) else { return }
    guard let offset = UInt64(exactly: offset) else { return request.fail(EINVAL) }
    do throws(VolumeError) {
      try system.write(
        file, bytes, at: offset, keepsTimes: true,
        quotas: isFromCache ? Self.quotaRule(handle) : request.quotaRule)
      noteRoom()
      noteQuota(node, file)
      if isFromCache { writers.noteWrite(node) }
      request.reply(written: bytes.byteCount)
    } catch {
      if isFromCache, error.code == .noSpace || error.code == .quotaExceeded {
        writers.noteLoss(of: node, error.code.errno)
      }
      fail(request, error, file)
    }
  }

  func synchronise(_ request: Request, _ node: UInt64) {
    answer(request, node) { (file) throws(VolumeError) in
      try system.fsync(file)
      request.fail(0)
    }
  }

  /// - Parameter mode: As of fallocate(2).
  func allocate(
    _ request: Request, _ node: UInt64, mode: Int32, from offset: Int64, byteCount: Int64
  ) {
    answer(request, node) { (file) throws(VolumeError) in
      guard let start = UInt64(exactly: offset), byteCount > 0 else { return request.fail(EINVAL) }
      let (end, overflow) = start.addingReportingOverflow(UInt64(byteCount))
      guard !overflow else { return request.fail(EFBIG) }
      let keepsSize = mode & Self.keepSize != 0
      let change: FileSystem.RangeChange
      switch mode & ~Self.keepSize {
      case 0: change = .allocate
      case Self.punchHole where keepsSize: change = .punch
      case Self.zeroRange: change = .zero
      case Self.collapseRange where !keepsSize: change = .collapse
      case Self.insertRange where !keepsSize: change = .insert
      default: return request.fail(EOPNOTSUPP)
      }
      do throws(VolumeError) {
        try system.change(
          file, start..<end, change, keepsSize: keepsSize, keepsTimes: true,
          quotas: request.quotaRule)
      } catch {
        // The kernel keeps what it has where this fails, though some of it may be zeros now.
        if case .zero = change { writers.writeBack(node, from: offset) }
        throw error
      }
      noteRoom()
      request.fail(0)
    }
  }

  /// - Parameter byteCount: At most.
  func copyRange(
    _ request: Request, from source: UInt64, _ start: Int64, to node: UInt64, _ offset: Int64,
    byteCount: Int
  ) {
    guard let from = file(source, request) else { return }
    answer(request, node) { (file) throws(VolumeError) in
      guard let start = UInt64(exactly: start), let offset = UInt64(exactly: offset) else {
        return request.fail(EINVAL)
      }
      // What is told back has 32 bits.
      let count = UInt64(clamping: min(byteCount, 1 << 30))
      let (end, overflow) = start.addingReportingOverflow(count)
      guard !overflow else { return request.fail(EOVERFLOW) }
      let copied = try system.copyRange(
        from: from, start..<end, to: file, at: offset, keepsTimes: true,
        quotas: request.quotaRule)
      request.reply(written: Int(copied))
    }
  }

  func seek(_ request: Request, in node: UInt64, from offset: Int64, _ kind: Int32) {
    answer(request, node) { (file) throws(VolumeError) in
      guard kind == SeekKind.data || kind == SeekKind.hole else { return request.fail(EINVAL) }
      writers.writeBack(node, from: max(offset, 0))
      guard let start = UInt64(exactly: offset),
        let found = try system.next(inHole: kind == SeekKind.hole, of: file, from: start),
        let result = Int64(exactly: found)
      else { return request.fail(ENXIO) }
      request.reply(offset: result)
    }
  }
}
