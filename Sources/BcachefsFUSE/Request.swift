// SPDX-License-Identifier: GPL-2.0
// A request of the kernel, and the answers it can get.

internal import Bcachefs
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

/// A request that waits for its answer. It gets exactly one.
@safe
struct Request {
  let handle: fuse_req_t

  init(_ handle: fuse_req_t) { unsafe self.handle = handle }

  /// The user who asks is root.
  var isFromRoot: Bool {
    guard let context = unsafe fuse_req_ctx(handle) else { return false }
    return unsafe context.pointee.uid == 0
  }

  /// What quotas say to whom who asks. The capability that counts is not told; root has it.
  var quotaRule: QuotaRule { isFromRoot ? .exempt : .enforced }

  /// Fails with an errno; 0 is success without data.
  func fail(_ number: Int32) { _ = unsafe fuse_reply_err(handle, number) }

  /// Nothing to say.
  func finish() { unsafe fuse_reply_none(handle) }

  func reply(_ bytes: RawSpan) {
    _ = unsafe bytes.withUnsafeBytes { bytes in
      unsafe fuse_reply_buf(
        handle, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
    }
  }

  /// - Returns: false if the kernel did not take it.
  func reply(_ entry: fuse_entry_param) -> Bool {
    var entry = entry
    return unsafe fuse_reply_entry(handle, &entry) == 0
  }

  /// The same for a file that is open from then on.
  func reply(_ entry: fuse_entry_param, _ info: inout fuse_file_info) -> Bool {
    var entry = entry
    return unsafe fuse_reply_create(handle, &entry, &info) == 0
  }

  func reply(written byteCount: Int) { _ = unsafe fuse_reply_write(handle, byteCount) }

  func reply(_ attributes: stat, timeoutSeconds: Double) {
    var attributes = attributes
    _ = unsafe fuse_reply_attr(handle, &attributes, timeoutSeconds)
  }

  func reply(_ usage: statvfs) {
    var usage = usage
    _ = unsafe fuse_reply_statfs(handle, &usage)
  }

  /// What readlink gives.
  func reply(link target: [UInt8]) {
    let text = (target + [0]).map { CChar(bitPattern: $0) }
    _ = unsafe text.withUnsafeBufferPointer { text in
      unsafe fuse_reply_readlink(handle, text.baseAddress)
    }
  }

  /// A list of names of extended attributes, less those that are root's.
  func reply(attributes names: some Sequence<[UInt8]>, room: Int) {
    let isFromRoot = isFromRoot
    var list: [UInt8] = []
    for name in names where isFromRoot || !name.starts(with: "trusted.".utf8) {
      list += name
      list.append(0)
    }
    reply(attribute: list, room: room)
  }

  func reply(offset: Int64) { _ = unsafe fuse_reply_lseek(handle, off_t(offset)) }

  /// An extended attribute's value, or a list of names: only its size when `room` is 0.
  func reply(attribute bytes: [UInt8], room: Int) {
    if room == 0 {
      _ = unsafe fuse_reply_xattr(handle, bytes.count)
    } else if room < bytes.count {
      fail(ERANGE)
    } else {
      reply(bytes.rawBytes)
    }
  }
}
