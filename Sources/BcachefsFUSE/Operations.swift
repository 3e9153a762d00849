// SPDX-License-Identifier: GPL-2.0
// libfuse's table of operations: each entry finds the server and hands the request over.

internal import CFUSE
internal import Glibc

/// What libfuse has by a plain pointer; `Mount` keeps it alive until the session is gone.
final class SessionServer: Sendable {
  let server: any RequestServer
  /// The same where it takes changes.
  let files: FileServer?

  init(_ server: any RequestServer, files: FileServer? = nil) {
    self.server = server
    self.files = files
  }

  /// Calls `body` with what a request's session was made for.
  static func find(_ request: fuse_req_t?, _ body: (SessionServer, Request) -> Void) {
    guard let request = unsafe request, let user = unsafe fuse_req_userdata(request) else { return }
    let found = unsafe Unmanaged<SessionServer>.fromOpaque(user).takeUnretainedValue()
    unsafe body(found, Request(request))
  }
}

private func serve(_ request: fuse_req_t?, _ body: (any RequestServer, Request) -> Void) {
  unsafe SessionServer.find(request) { (session, request) in body(session.server, request) }
}

enum Operations {
  /// The bytes of a name.
  static func bytes(_ text: UnsafePointer<CChar>?) -> [UInt8] {
    guard let text = unsafe text else { return [] }
    return unsafe [UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text)))
  }

  /// What every volume answers; the rest libfuse answers with ENOSYS, after which the kernel no
  /// longer asks: access and locks are the kernel's, and a close changes nothing.
  static func table() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    addConnection(&table)
    addNames(&table)
    addDirectories(&table)
    addContents(&table)
    return table
  }

  private static func addConnection(_ table: inout fuse_lowlevel_ops) {
    unsafe table.`init` = { (user, info) in
      guard let user = unsafe user, let info = unsafe info else { return }
      let found = unsafe Unmanaged<SessionServer>.fromOpaque(user).takeUnretainedValue()
      unsafe found.server.begin(&info.pointee)
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
    unsafe table.getattr = { (request, node, info) in
      unsafe serve(request) { (server, request) in
        server.getAttributes(request, of: node, handle: unsafe info?.pointee.fh)
      }
    }
    unsafe table.readlink = { (request, node) in
      unsafe serve(request) { (server, request) in server.readLink(request, of: node) }
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
    unsafe table.lseek = { (request, node, offset, kind, _) in
      unsafe serve(request) { (server, request) in
        server.seek(request, in: node, from: Int64(offset), kind)
      }
    }
    unsafe table.release = { (request, node, info) in
      unsafe serve(request) { (server, request) in
        if let info = unsafe info?.pointee { server.close(node, info) }
        request.fail(0)
      }
    }
  }
}
