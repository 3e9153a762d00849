// SPDX-License-Identifier: GPL-2.0
// What a reader of ours sees of a tree, in the lines of manifest.py.

internal import Bcachefs
internal import BcachefsFormat

/// Lists a tree as `Tests/KernelTests/guest/manifest.py` does. Contents of regular files are left
/// out: `withoutData` takes them from a line.
struct VolumeManifest {
  private let volume: Volume

  init(_ volume: Volume) { self.volume = volume }

  /// One line a path below a folder, sorted.
  func lines(of folder: String) throws -> [String] {
    var result: [String] = []
    let top = try folder.isEmpty ? volume.root : volume.resolve(folder)
    try collect(top, "", &result)
    return result.sorted()
  }

  /// A line without what the contents of a regular file are.
  static func withoutData(_ line: String) -> String {
    var fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    if fields.count > 9, fields[1] == "-" { fields[9] = "-" }
    return fields.joined(separator: "\t")
  }

  private func collect(_ id: FileID, _ path: String, _ lines: inout [String]) throws {
    for entry in try volume.entries(of: id) {
      if path.isEmpty, entry.text == "lost+found" { continue }
      let name = path + Self.escaped(entry.name)
      lines.append(try line(entry, name))
      if entry.kind == .directory { try collect(entry.id, name + "/", &lines) }
    }
  }

  private func line(_ entry: DirectoryEntry, _ name: String) throws -> String {
    let found = try volume.attributes(entry.id)
    let kind = found.kind ?? .regular
    let isDirectory = kind == .directory
    let xattrs = try volume.xattrs(entry.id)
      .map { (String(decoding: $0.name, as: UTF8.self), $0) }
      .filter { !$0.0.hasPrefix("bcachefs") }
      .sorted { $0.0 < $1.0 }
      .map { "\(Self.escaped($0.1.name))=" + $0.1.value.map(Self.hex).joined() }
    let mode = String(found.mode & 0o7777, radix: 8)
    let fields: [String] = [
      name, Self.letter(kind), String(repeating: "0", count: 4 - mode.count) + mode,
      "\(found.linkCount)", "\(found.inode.uid)", "\(found.inode.gid)",
      isDirectory ? "-" : "\(found.byteCount)", isDirectory ? "-" : "\(found.modificationTime)",
      kind.isDevice ? "\(found.inode.deviceMajor):\(found.inode.deviceMinor)" : "-",
      kind == .symbolicLink ? Self.escaped(try volume.readLink(entry.id)) : "-",
      xattrs.isEmpty ? "-" : xattrs.joined(separator: ","),
    ]
    return fields.joined(separator: "\t")
  }

  private static func hex(_ byte: UInt8) -> String {
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }

  private static func escaped(_ bytes: [UInt8]) -> String {
    bytes.map { byte in
      (33..<127).contains(byte) && byte != 92
        ? String(UnicodeScalar(byte)) : "\\x" + hex(byte)
    }.joined()
  }

  private static func letter(_ kind: FileKind) -> String {
    switch kind {
    case .fifo: "p"
    case .characterDevice: "c"
    case .directory: "d"
    case .blockDevice: "b"
    case .regular: "-"
    case .symbolicLink: "l"
    case .socket: "s"
    }
  }
}
