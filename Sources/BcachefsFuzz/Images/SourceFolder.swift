// SPDX-License-Identifier: GPL-2.0
// A folder with a little of everything, for the image builder to make volumes of.
//
// It stands below TMPDIR and is removed when its object goes. All times are the same, so that the
// volumes are. What the folder's filesystem cannot keep (attributes, access lists) is left out.

internal import BcachefsIO
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

/// A small tree: all kinds of files, many names, long names, deep folders.
final class SourceFolder {
  let path: String
  /// What to remove, children after their parents.
  private var made: [(directory: HostDirectory, name: [UInt8], isFolder: Bool)] = []
  private let base: String

  init() throws(FuzzFailure) {
    base = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
    var seed = RandomSource.system
    let folder = Array("bcachefs-fuzz-\(seed.next())".utf8)
    path = "\(base)/\(String(decoding: folder, as: UTF8.self))"
    do throws(HostError) {
      let parent = try HostTree(base).directory(at: HostPath(""))
      let root = try parent.makeDirectory(folder)
      made.append((parent, folder, true))
      try fill(root)
    } catch {
      throw FuzzFailure("making a folder in \(base): \(error)")
    }
  }

  deinit {
    for item in made.reversed() {
      let bytes = Array("\(base)/".utf8) + item.directory.path.bytes + [0x2f] + item.name + [0]
      let path = bytes.map { CChar(bitPattern: $0) }
      _ = unsafe item.isFolder ? rmdir(path) : unlink(path)
    }
  }

  private func attributes(
    _ permissions: UInt32, _ xattrs: [HostXattr] = []
  ) -> HostAttributes {
    HostAttributes(
      permissions: permissions, owner: nil, accessTime: 1_600_000_000_000_000_001,
      modificationTime: 1_600_000_000_000_000_002, xattrs: xattrs)
  }

  private func fill(_ root: HostDirectory) throws(HostError) {
    var random = Xoshiro256(seed: 7)
    try file(root, "short", Array("a few bytes\n".utf8))
    try file(root, "noise", random.bytes(20_000))
    try file(root, "soft", random.compressibleBytes(90_000))
    try file(root, "empty", [])
    try file(root, "names", [1])
    // Version 2; owner, user 7, group, mask, others.
    let list: [UInt8] =
      [2, 0, 0, 0]
      + [(1, 6, 0xff), (2, 4, 7), (4, 5, 0xff), (16, 7, 0xff), (32, 4, 0xff)].flatMap {
        (tag: UInt8, mode: UInt8, id: UInt8) -> [UInt8] in
        let high: UInt8 = id == 0xff ? 0xff : 0
        return [tag, 0, mode, 0, id, high, high, high]
      }
    var xattrs = [("user.a", 3), ("user.long", 900), ("user.b", 0)].map {
      (name: String, count: Int) in
      HostXattr(name: Array(name.utf8), value: random.bytes(count))
    }
    xattrs.append(HostXattr(name: Array("system.posix_acl_access".utf8), value: list))
    let file = try make(root, "attributes")
    try file.write(random.bytes(600).rawBytes, atByte: 0)
    _ = try file.setAttributes(attributes(0o640, xattrs))
    for name in ["first", "second"] {
      try root.makeLink(Array(name.utf8), to: Array("attributes".utf8), in: root)
      made.append((root, Array(name.utf8), false))
    }
    let holes = try make(root, "holes")
    let bytes = random.bytes(9000)
    for offset in [0, 60_000] { try holes.write(bytes.rawBytes, atByte: UInt64(offset)) }
    try holes.setByteCount(200_000)
    _ = try holes.setAttributes(attributes(0o600))
    for (name, target) in [("link", "short"), ("far", String(repeating: "x/", count: 900))] {
      try root.makeSymbolicLink(Array(name.utf8), target: Array(target.utf8))
      made.append((root, Array(name.utf8), false))
      _ = try root.setAttributes(attributes(0o777), of: Array(name.utf8), isLink: true)
    }
    try folders(root)
    _ = try root.setAttributes(attributes(0o755))
  }

  private func folders(_ root: HostDirectory) throws(HostError) {
    let many = try folder(root, "many")
    for index in 0..<60 { try file(many, "name \(index)", Array("\(index)".utf8)) }
    try file(many, String(repeating: "n", count: 250), [2])
    var chain = [try folder(root, "deep")]
    while let last = chain.last, chain.count < 10 {
      try file(last, "here", Array("\(chain.count)".utf8))
      chain.append(try folder(last, "d"))
    }
    for directory in chain.reversed() + [many] {
      _ = try directory.setAttributes(attributes(0o755))
    }
  }

  private func make(
    _ directory: HostDirectory, _ name: String
  ) throws(HostError) -> HostNewFile {
    let file = try directory.makeFile(Array(name.utf8))
    made.append((directory, Array(name.utf8), false))
    return file
  }

  private func file(
    _ directory: HostDirectory, _ name: String, _ bytes: [UInt8]
  ) throws(HostError) {
    let file = try make(directory, name)
    try file.write(bytes.rawBytes, atByte: 0)
    _ = try file.setAttributes(attributes(0o644))
  }

  private func folder(
    _ directory: HostDirectory, _ name: String
  ) throws(HostError) -> HostDirectory {
    let made = try directory.makeDirectory(Array(name.utf8))
    self.made.append((directory, Array(name.utf8), true))
    return made
  }
}
