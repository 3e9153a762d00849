// SPDX-License-Identifier: GPL-2.0
// bcachefs export: a volume's tree as a tar archive on standard output.
//
// How it works
//   1. The tree is walked in the order in which the volume lists it; each file is a member. A file
//      with several names is stored with the first and is a link with the others.
//   2. Where a file has holes is known before its contents are read: it becomes a sparse member.
//   3. What cannot be read is zeros, and is named at once and in the exit code.
// Invariants
//   (1) The archive is well formed whatever is damaged.
//   (2) Memory grows only with the names of files that have several (LinkNames).

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

enum ExportCommand {
  static let spec = CommandSpec(
    name: "export",
    summary: "write a tree as a tar archive",
    synopsis: "[OPTION...] VOLUME [PATH] >FILE",
    text: [
      "Writes the tree below PATH, or the whole volume, to standard output as a tar archive in pax "
        + "format: modes, owners, times to the nanosecond, hard links, device nodes, holes, "
        + "extended attributes and ACLs are in it. "
        + "Subvolumes are directories. A socket cannot stand in an archive and is left out.",
      "What cannot be read is named on standard error with its byte ranges; zeros stand for it, "
        + "and the exit code is 65. Everything else is in the archive.",
      "To unpack all of it, GNU tar needs --xattrs --xattrs-include='*' --acls and root. ACLs "
        + "are in the archive twice: as attributes, and as the text that tar wants.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("json", help: "report what was written and lost as JSON on standard error")
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(
        line: "bcachefs export volume.img | tar -x -p --xattrs --xattrs-include='*' --acls -C DIR",
        text: "Everything into a directory:"),
      CommandExample(
        line: "bcachefs export /dev/sdb:/dev/sdc home | zstd >home.tar.zst",
        text: "One directory, compressed:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count <= 2 else {
      throw .usage("one path at a time", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let path = arguments.operands.dropFirst().first ?? ""
    let root = try VolumeOperand.file(path, in: volume)
    let output = ByteOutput()
    guard !output.isTerminal else {
      throw CommandFailure(
        .usage, "an archive is not for a terminal", advice: "Redirect it: >FILE, or | tar -t")
    }
    let damage = DamageReport(command: spec.name)
    let base = path.utf8.split(separator: UInt8(ascii: "/")).last.map(Array.init) ?? []
    let summary = try export(volume, from: root, named: base, to: output, damage)
    if arguments.contains("json") { Output.writeToError(summary.text() + "\n") }
    try damage.finish()
  }

  /// Writes the archive of a tree.
  ///
  /// - Returns: What was written and lost.
  static func export(
    _ volume: Volume, from root: FileID, named name: [UInt8], to output: ByteOutput,
    _ damage: DamageReport
  ) throws(CommandFailure) -> JSONValue {
    let archive = Archive(volume: volume, output: output, damage: damage)
    try TreeWalk(volume: volume, isSorted: false, damage: damage).run(from: root) {
      (entry) throws(CommandFailure) in
      try archive.add(entry, rootName: name)
      return true
    }
    try archive.finish()
    return archive.json
  }
}

private final class Archive {
  private let volume: Volume
  private let output: ByteOutput
  private let damage: DamageReport
  private let tar: TarWriter
  private let buffer = HeapBuffer(byteCount: 1 << 20)
  private var names = LinkNames()
  private var members: UInt64 = 0
  private var leftOut: UInt64 = 0

  init(volume: Volume, output: ByteOutput, damage: DamageReport) {
    self.volume = volume
    self.output = output
    self.damage = damage
    tar = TarWriter(output)
  }

  func add(_ entry: WalkEntry, rootName: [UInt8]) throws(CommandFailure) {
    var name = entry.path
    if entry.depth == 0 { name = entry.isDirectory ? [UInt8(ascii: ".")] : rootName }
    guard let kind = memberKind(entry, name) else { return }
    if entry.isDirectory {
      name.append(UInt8(ascii: "/"))
      names.enter(entry.name, depth: entry.depth)
    }
    var member = TarMember(
      name: name, kind: kind, mode: UInt32(entry.inode.mode & 0o7777), uid: entry.inode.uid,
      gid: entry.inode.gid, modificationTime: entry.attributes.modificationTime)
    members += 1
    if entry.attributes.linkCount > 1 && !entry.isDirectory {
      if let first = names.path(of: entry.id) {
        member.kind = .hardLink
        member.linkTarget = first
        try tar.begin(member)
        return
      }
    }
    do throws(VolumeError) {
      member.xattrs = try volume.xattrs(entry.id).filter { !FileOption.isShown(by: $0.name) }
      member.records += Self.accessLists(member.xattrs)
      if kind == .symbolicLink { member.linkTarget = try volume.readLink(entry.id) }
    } catch {
      damage.add(entry.path, error.description)
      // A link to nowhere says nothing and would not unpack.
      if kind == .symbolicLink && member.linkTarget.isEmpty { return }
    }
    if entry.attributes.linkCount > 1 && !entry.isDirectory {
      names.keep(entry.depth == 0 ? name : entry.name, of: entry.id, depth: entry.depth)
    }
    (member.major, member.minor) = (entry.inode.deviceMajor, entry.inode.deviceMinor)
    if kind == .regular {
      try addContents(entry, member)
    } else {
      try tar.begin(member)
    }
  }

  private func memberKind(_ entry: WalkEntry, _ name: [UInt8]) -> TarMember.Kind? {
    switch FileKind(entry.inode) {
    case .regular: return .regular
    case .directory: return .directory
    case .symbolicLink: return .symbolicLink
    case .fifo: return .fifo
    case .characterDevice: return .characterDevice
    case .blockDevice: return .blockDevice
    case .socket:
      leftOut += 1
      damage.remark(
        "\(SafeText.text(name)): a socket cannot stand in an archive: left out")
    case nil: damage.add(entry.path, "its mode \(FileText.octalMode(entry.inode)) has no type")
    }
    return nil
  }

  /// ACLs as the text that tar unpacks.
  private static func accessLists(
    _ xattrs: [(name: [UInt8], value: [UInt8])]
  ) -> [(key: String, value: [UInt8])] {
    let keys = [
      ("system.posix_acl_access", "SCHILY.acl.access"),
      ("system.posix_acl_default", "SCHILY.acl.default"),
    ]
    var records: [(key: String, value: [UInt8])] = []
    for (name, key) in keys {
      guard let xattr = xattrs.first(where: { $0.name.elementsEqual(name.utf8) }),
        let text = AccessListText.text(xattr.value)
      else { continue }
      records.append((key, Array(text.utf8)))
    }
    return records
  }

  private func addContents(
    _ entry: WalkEntry, _ member: TarMember
  ) throws(CommandFailure) {
    let size = entry.attributes.byteCount
    let losses = FileLosses()
    var member = member
    var ranges: [Range<UInt64>] = []
    var handle: FileHandle?
    do throws(VolumeError) {
      let file = try volume.open(entry.id)
      ranges = try file.dataRanges { losses.add($0, $1) }
      handle = file
    } catch {
      losses.add(0..<size, error)
    }
    var map: [UInt8] = []
    if ranges == [0..<size] || size == 0 {
      member.contentByteCount = size
    } else {
      map = TarWriter.makeSparse(&member, size: size, ranges: ranges)
    }
    try tar.begin(member)
    try output.write(map)
    if let handle {
      let contents = FileContents(file: handle, losses: losses, buffer: buffer)
      for range in ranges {
        try contents.forEachPiece(in: range) { (piece, _) throws(CommandFailure) in
          try output.write(piece)
        }
      }
    }
    try tar.pad(after: member.contentByteCount)
    damage.add(entry.path, losses, size: size)
  }

  func finish() throws(CommandFailure) { try tar.finish() }

  var json: JSONValue {
    .object([
      .init("members", .integer(members)), .init("bytes", .integer(output.byteCount)),
      .init("left_out", .integer(leftOut)), .init("damage", damage.json),
    ])
  }
}
