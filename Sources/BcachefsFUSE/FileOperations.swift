// SPDX-License-Identifier: GPL-2.0
// What libfuse's table has in addition for a volume that is open for changes; see `Operations`.
//
// Invariants
//   (1) What a request brings is copied, but for what is to be written to a file, before it is
//       answered: libfuse uses its memory again.

internal import BcachefsSupport
internal import CFUSE
internal import Glibc

private func serve(_ request: fuse_req_t?, _ body: (FileServer, Request) -> Void) {
  unsafe SessionServer.find(request) { (session, request) in
    if let files = session.files { body(files, request) } else { request.fail(EROFS) }
  }
}

enum FileOperations {
  static func table() -> fuse_lowlevel_ops {
    var table = Operations.table()
    addNames(&table)
    addChangesOfNames(&table)
    addAttributes(&table)
    addContents(&table)
    addControls(&table)
    return table
  }

  private static func addNames(_ table: inout fuse_lowlevel_ops) {
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
    unsafe table.setattr = { (request, node, status, which, _) in
      unsafe serve(request) { (server, request) in
        guard let status = unsafe status?.pointee else { return request.fail(EINVAL) }
        server.setAttributes(request, of: node, status, which: which)
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

  private static func addContents(_ table: inout fuse_lowlevel_ops) {
    unsafe table.write = { (request, node, bytes, byteCount, offset, info) in
      unsafe serve(request) { (server, request) in
        let isFromCache = unsafe info?.pointee.writepage == 1
        let span = unsafe RawSpan(
          _unsafeBytes: UnsafeRawBufferPointer(start: bytes, count: byteCount))
        let handle = unsafe info?.pointee.fh ?? 0
        server.write(
          request, to: node, handle: handle, span, at: Int64(offset), isFromCache: isFromCache)
      }
    }
    unsafe table.fsync = { (request, node, _, _) in
      unsafe serve(request) { (server, request) in server.synchronise(request, node) }
    }
    unsafe table.fsyncdir = { (request, node, _, _) in
      unsafe serve(request) { (server, request) in server.synchronise(request, node) }
    }
    unsafe table.fallocate = { (request, node, mode, offset, byteCount, _) in
      unsafe serve(request) { (server, request) in
        server.allocate(
          request, node, mode: mode, from: Int64(offset), byteCount: Int64(byteCount))
      }
    }
    unsafe table.copy_file_range = { (request, from, start, _, node, offset, _, byteCount, _) in
      unsafe serve(request) { (server, request) in
        server.copyRange(
          request, from: from, Int64(start), to: node, Int64(offset), byteCount: byteCount)
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
