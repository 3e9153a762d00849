// SPDX-License-Identifier: GPL-2.0
// bcachefs ls: the names in a directory of a volume.

internal import Bcachefs
internal import BcachefsFormat

enum ListFilesCommand {
  static let spec = CommandSpec(
    name: "ls",
    summary: "list files of a volume",
    synopsis: "[OPTION...] VOLUME [PATH]",
    text: [
      "Lists the directory PATH, or the file, of a volume that is not mounted; without PATH the "
        + "root. Names are sorted by their bytes, one a line.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("long", short: "l", help: "modes, links, owners, sizes and times, too"),
          OptionSpec("all", short: "a", help: "names that begin with a dot, too"),
          OptionSpec("recursive", short: "R", help: "the directories below, too"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs ls -l volume.img home", text: "A directory with details:"),
      CommandExample(
        line: "bcachefs ls -aR --json /dev/sdb:/dev/sdc",
        text: "Everything there is, for a program:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count <= 2 else {
      throw .usage("one path at a time", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let path = arguments.operands.dropFirst().first ?? ""
    let isLong = arguments.contains("long")
    let root = try VolumeOperand.file(path, in: volume, followsLast: !isLong)
    let listing = Listing(
      volume: volume, damage: DamageReport(command: spec.name), isLong: isLong,
      showsHidden: arguments.contains("all"), isRecursive: arguments.contains("recursive"))
    let isDirectory = try VolumeOperand.reading { () throws(VolumeError) in
      try volume.inode(root).isDirectory
    }
    if arguments.contains("json") {
      try listing.printJSON(root)
    } else if isDirectory {
      try listing.print(root, path)
    } else {
      try listing.printFile(root, path)
    }
    try listing.damage.finish()
  }
}

private struct Listing {
  let volume: Volume
  let damage: DamageReport
  let isLong: Bool
  let showsHidden: Bool
  let isRecursive: Bool
  let output = ByteOutput()

  /// The files of a walk that are shown, each directory's together.
  private func walk(
    _ root: FileID, _ body: (WalkEntry) throws(CommandFailure) -> Void
  ) throws(CommandFailure) {
    let walk = TreeWalk(volume: volume, isSorted: true, damage: damage)
    try walk.run(from: root) { (entry) throws(CommandFailure) in
      guard entry.depth == 0 || isShown(entry.name) else { return false }
      try body(entry)
      return entry.depth == 0 || isRecursive
    }
  }

  private func isShown(_ name: [UInt8]) -> Bool { showsHidden || name.first != UInt8(ascii: ".") }

  func printFile(_ id: FileID, _ path: String) throws(CommandFailure) {
    let attributes = try VolumeOperand.reading { () throws(VolumeError) in
      try volume.attributes(id)
    }
    try printLine(attributes, Array(path.utf8), widths: [])
    try output.flush()
  }

  /// Directories one after the other, as ls -R shows them.
  func print(_ root: FileID, _ path: String) throws(CommandFailure) {
    var waiting = [(id: root, path: Array(path.utf8))]
    var isFirst = true
    while let directory = waiting.popLast() {
      if isRecursive {
        try output.write(isFirst ? "" : "\n")
        try output.write(name: directory.path.isEmpty ? Array("/".utf8) : directory.path)
        try output.write(":\n")
      }
      isFirst = false
      let entries = try children(directory.id)
      let widths = columnWidths(entries)
      for entry in entries { try printLine(entry.attributes, entry.name, widths: widths) }
      guard isRecursive else { break }
      for entry in entries.reversed() where entry.isDirectory {
        let slash = directory.path.isEmpty ? [] : [UInt8(ascii: "/")]
        waiting.append((entry.id, directory.path + slash + entry.name))
      }
    }
    try output.flush()
  }

  private func children(_ id: FileID) throws(CommandFailure) -> [WalkEntry] {
    var entries: [WalkEntry] = []
    let walk = TreeWalk(volume: volume, isSorted: true, damage: damage)
    try walk.run(from: id) { (entry) throws(CommandFailure) in
      if entry.depth == 1 && isShown(entry.name) { entries.append(entry) }
      return entry.depth == 0
    }
    return entries
  }

  // MARK: - Lines

  private func columns(_ attributes: FileAttributes) -> [String] {
    let inode = attributes.inode
    var size = "\(attributes.byteCount)"
    if FileKind(inode)?.isDevice == true {
      size = "\(inode.deviceMajor), \(inode.deviceMinor)"
    }
    return [
      FileText.mode(inode), "\(attributes.linkCount)", "\(inode.uid)", "\(inode.gid)", size,
      FileText.time(attributes.modificationTime, isLong: false),
    ]
  }

  private func columnWidths(_ entries: [WalkEntry]) -> [Int] {
    guard isLong else { return [] }
    var widths = [Int](repeating: 0, count: 6)
    for entry in entries {
      for (index, text) in columns(entry.attributes).enumerated() {
        widths[index] = max(widths[index], text.count)
      }
    }
    return widths
  }

  private func printLine(
    _ attributes: FileAttributes, _ name: [UInt8], widths: [Int]
  ) throws(CommandFailure) {
    if isLong {
      for (index, text) in columns(attributes).enumerated() {
        let width = widths.isEmpty ? 0 : widths[index]
        let padding = String(repeating: " ", count: max(width - text.count, 0))
        try output.write(padding + text + " ")
      }
    }
    try output.write(name: name)
    if isLong, let target = target(attributes, name) {
      try output.write(" -> ")
      try output.write(name: target)
    }
    try output.write("\n")
  }

  private func target(_ attributes: FileAttributes, _ path: [UInt8]) -> [UInt8]? {
    guard FileKind(attributes.inode) == .symbolicLink else { return nil }
    do throws(VolumeError) {
      return try volume.readLink(attributes.id)
    } catch {
      damage.add(path, error.description)
      return nil
    }
  }

  func printJSON(_ root: FileID) throws(CommandFailure) {
    var isFirst = true
    try walk(root) { (entry) throws(CommandFailure) in
      guard entry.depth > 0 || !entry.isDirectory else { return }
      try output.write(isFirst ? "[\n" : ",\n")
      isFirst = false
      let members =
        NameText.members("name", entry.path)
        + FileText.members(entry.attributes, target: target(entry.attributes, entry.path))
      try output.write("  " + JSONValue.object(members).text(indented: false))
    }
    try output.write(isFirst ? "[]\n" : "\n]\n")
    try output.flush()
  }
}
