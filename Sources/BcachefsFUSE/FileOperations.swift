// SPDX-License-Identifier: GPL-2.0
// libfuse's table of operations for a volume that is open for changes: each entry finds the server
// and hands the request over.
//
// Invariants
//   (1) What a request brings is copied, but for what is to be written to a file, before it is
//       answered: libfuse uses its memory again.

internal import BcachefsSupport
internal import CFUSE
internal import Glibc

/// Hands a request to the server that its session was made for; see `Operations`.
private func serve(_ request: fuse_req_t?, _ body: (FileServer, Request) -> Void) {
  guard let request = unsafe request, let user = unsafe fuse_req_userdata(request) else { return }
  let server = unsafe Unmanaged<FileServer>.fromOpaque(user).takeUnretainedValue()
  unsafe body(server, Request(request))
}

enum FileOperations {
  /// What it answers; the rest libfuse answers with ENOSYS, after which the kernel no longer asks:
  /// access and locks are the kernel's, and a close changes nothing.
  static func table() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    addConnection(&table)
    addNames(&table)
    addChangesOfNames(&table)
    addAttributes(&table)
    addDirectories(&table)
    addContents(&table)
    addControls(&table)
    return table
  }

  private static func addConnection(_ table: inout fuse_lowlevel_ops) {
    unsafe table.`init` = { (user, info) in
      guard let user = unsafe user, let info = unsafe info else { return }
      let server = unsafe Unmanaged<FileServer>.fromOpaque(user).takeUnretainedValue()
      unsafe server.begin(&info.pointee)
    }
    unsafe table.forget = { (request, node, count) in
      unsafe serve(request) { (server, request) in
        server.forget(node, count: count)
        request.finish()
      }
    }
    unsafe table.forget_multi = { (request, count, list) in
      unsafe serve(request) { (server, request) in
        for index in 0..<count {
          guard let one = unsafe list?[index] else { break }
          server.forget(one.ino, count: one.nlookup)
        }
        request.finish()
      }
    }
    unsafe table.statfs = { (request, _) in
      unsafe serve(request) { (server, request) in server.getUsage(request) }
    }
  }

  private static func addNames(_ table: inout fuse_lowlevel_ops) {
    unsafe table.lookup = { (request, parent, name) in
      unsafe serve(request) { (server, request) in
        unsafe server.lookUp(request, in: parent, Operations.bytes(name))
      }
    }
    unsafe table.readlink = { (request, node) in
      unsafe serve(request) { (server, request) in server.readLink(request, of: node) }
    }
    unsafe table.mknod = { (request, parent, name, mode, device) in
      unsafe serve(request) { (server, request) in
        unsafe server.makeNode(
          request, in: parent, Operations.bytes(name), mode: mode, device: device)
      }
    }
    unsafe table.mkdir = { (request, parent, name, mode) in
      unsafe serve(request) { (server, request) in
        unsafe server.makeNode(
          request, in: parent, Operations.bytes(name), mode: mode & 0o7777 | 0o040000)
      }
    }
    unsafe table.create = { (request, parent, name, mode, info) in
      unsafe serve(request) { (server, request) in
        guard let info = unsafe info else { return request.fail(EINVAL) }
        unsafe server.create(
          request, in: parent, Operations.bytes(name), mode: mode, &info.pointee)
      }
    }
    unsafe table.symlink = { (request, target, parent, name) in
      unsafe serve(request) { (server, request) in
        unsafe server.makeLink(
          request, in: parent, Operations.bytes(name), to: Operations.bytes(target))
      }
    }
    unsafe table.link = { (request, node, parent, name) in
      unsafe serve(request) { (server, request) in
        unsafe server.link(request, node, as: Operations.bytes(name), in: parent)
      }
    }
  }

  private static func addChangesOfNames(_ table: inout fuse_lowlevel_ops) {
    unsafe table.unlink = { (request, parent, name) in
      unsafe serve(request) { (server, request) in
        unsafe server.remove(request, in: parent, Operations.bytes(name), isDirectory: false)
      }
    }
    unsafe table.rmdir = { (request, parent, name) in
      unsafe serve(request) { (server, request) in
        unsafe server.remove(request, in: parent, Operations.bytes(name), isDirectory: true)
      }
    }
    unsafe table.rename = { (request, parent, name, newParent, newName, flags) in
      unsafe serve(request) { (server, request) in
        unsafe server.rename(
          request, in: parent, Operations.bytes(name), to: newParent, Operations.bytes(newName),
          flags: flags)
      }
    }
  }

  private static func addAttributes(_ table: inout fuse_lowlevel_ops) {
    unsafe table.getattr = { (request, node, info) in
      unsafe serve(request) { (server, request) in
        server.getAttributes(request, of: node, handle: unsafe info?.pointee.fh)
      }
    }
    unsafe table.setattr = { (request, node, status, which, _) in
      unsafe serve(request) { (server, request) in
        guard let status = unsafe status?.pointee else { return request.fail(EINVAL) }
        server.setAttributes(request, of: node, status, which: which)
      }
    }
    unsafe table.getxattr = { (request, node, name, room) in
      unsafe serve(request) { (server, request) in
        unsafe server.getXattr(request, of: node, Operations.bytes(name), room: room)
      }
    }
    unsafe table.listxattr = { (request, node, room) in
      unsafe serve(request) { (server, request) in
        server.listXattrs(request, of: node, room: room)
      }
    }
    unsafe table.setxattr = { (request, node, name, value, byteCount, flags) in
      unsafe serve(request) { (server, request) in
        let value = unsafe [UInt8](UnsafeRawBufferPointer(start: value, count: byteCount))
        unsafe server.setXattr(request, of: node, Operations.bytes(name), value, flags: flags)
      }
    }
    unsafe table.removexattr = { (request, node, name) in
      unsafe serve(request) { (server, request) in
        unsafe server.removeXattr(request, of: node, Operations.bytes(name))
      }
    }
  }

  private static func addDirectories(_ table: inout fuse_lowlevel_ops) {
    unsafe table.opendir = { (request, _, info) in
      unsafe serve(request) { (server, request) in
        if let info = unsafe info { unsafe server.openDirectory(request, &info.pointee) }
      }
    }
    unsafe table.readdir = { (request, node, byteCount, offset, _) in
      unsafe serve(request) { (server, request) in
        server.readDirectory(
          request, node, byteCount: byteCount, from: Int64(offset), isPlus: false)
      }
    }
    unsafe table.readdirplus = { (request, node, byteCount, offset, _) in
      unsafe serve(request) { (server, request) in
        server.readDirectory(request, node, byteCount: byteCount, from: Int64(offset), isPlus: true)
      }
    }
    unsafe table.releasedir = { (request, _, _) in
      unsafe serve(request) { (_, request) in request.fail(0) }
    }
    unsafe table.fsyncdir = { (request, node, _, _) in
      unsafe serve(request) { (server, request) in server.synchronise(request, node) }
    }
  }

  private static func addContents(_ table: inout fuse_lowlevel_ops) {
    unsafe table.open = { (request, node, info) in
      unsafe serve(request) { (server, request) in
        if let info = unsafe info { unsafe server.open(request, node, &info.pointee) }
      }
    }
    unsafe table.read = { (request, node, byteCount, offset, _) in
      unsafe serve(request) { (server, request) in
        server.read(request, of: node, byteCount: byteCount, from: Int64(offset))
      }
    }
    unsafe table.write = { (request, node, bytes, byteCount, offset, info) in
      unsafe serve(request) { (server, request) in
        let isFromCache = unsafe info?.pointee.writepage == 1
        let span = unsafe RawSpan(
          _unsafeBytes: UnsafeRawBufferPointer(start: bytes, count: byteCount))
        server.write(request, to: node, span, at: Int64(offset), isFromCache: isFromCache)
      }
    }
    unsafe table.fsync = { (request, node, _, _) in
      unsafe serve(request) { (server, request) in server.synchronise(request, node) }
    }
    unsafe table.fallocate = { (request, node, mode, offset, byteCount, _) in
      unsafe serve(request) { (server, request) in
        server.allocate(
          request, node, mode: mode, from: Int64(offset), byteCount: Int64(byteCount))
      }
    }
    unsafe table.lseek = { (request, node, offset, kind, _) in
      unsafe serve(request) { (server, request) in
        server.seek(request, in: node, from: Int64(offset), kind)
      }
    }
    unsafe table.copy_file_range = { (request, from, start, _, node, offset, _, byteCount, _) in
      unsafe serve(request) { (server, request) in
        server.copyRange(
          request, from: from, Int64(start), to: node, Int64(offset), byteCount: byteCount)
      }
    }
    unsafe table.release = { (request, node, info) in
      unsafe serve(request) { (server, request) in
        if let info = unsafe info?.pointee { server.close(node, info) }
        request.fail(0)
      }
    }
  }

  private static func addControls(_ table: inout fuse_lowlevel_ops) {
    unsafe table.ioctl = { (request, node, command, _, _, flags, bytes, byteCount, _) in
      unsafe serve(request) { (server, request) in
        let span = unsafe RawSpan(
          _unsafeBytes: UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : byteCount))
        server.control(
          request, node, command: UInt32(truncatingIfNeeded: command), span, flags: flags)
      }
    }
  }
}
