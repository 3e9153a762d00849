// SPDX-License-Identifier: GPL-2.0
// bcachefs stat: all that a volume says of one file.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

enum StatCommand {
  static let spec = CommandSpec(
    name: "stat",
    summary: "show all that is known of a file",
    synopsis: "[OPTION...] VOLUME PATH",
    text: [
      "Prints a file's type, size, owners, mode and times, its numbers in the volume, the options "
        + "that it has for itself (set on it, or inherited from a directory), its extended "
        + "attributes, and where it has data. A symbolic link is shown itself.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "extents",
            help: "where its contents are: each piece with the places of its copies, checksum and "
              + "compression"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs stat volume.img etc/passwd", text: "One file:"),
      CommandExample(
        line: "bcachefs stat --extents --json /dev/sdb:/dev/sdc var/disk.raw",
        text: "Where a file is on which device, for a program:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 2 else {
      throw .usage("name a volume and a path", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let path = arguments.operands[1]
    let id = try VolumeOperand.file(path, in: volume, followsLast: false)
    let damage = DamageReport(command: spec.name)
    let details = try VolumeOperand.reading { () throws(VolumeError) in
      try FileDetails(
        id, Array(path.utf8), volume, damage, mapsExtents: arguments.contains("extents"))
    }
    Output.write(
      arguments.contains("json") ? details.json.text() + "\n" : details.text(path: path))
    try damage.finish()
  }
}

private struct FileDetails {
  let attributes: FileAttributes
  let xattrs: [(name: [UInt8], value: [UInt8])]
  let options: [FileOption]
  let target: [UInt8]?
  /// Ranges with data; empty but for regular files.
  let ranges: [Range<UInt64>]
  /// nil: not asked for.
  let extents: ExtentMapText?

  init(
    _ id: FileID, _ path: [UInt8], _ volume: Volume, _ damage: DamageReport, mapsExtents: Bool
  ) throws(VolumeError) {
    attributes = try volume.attributes(id)
    let kind = FileKind(attributes.inode)
    options = volume.options(of: attributes.inode)
    let losses = FileLosses()
    ranges =
      kind == .regular
      ? try volume.open(id).dataRanges { range, error in losses.add(range, error) } : []
    extents = mapsExtents ? try ExtentMapText(try volume.open(id), volume, losses) : nil
    damage.add(path, losses, size: attributes.byteCount)
    var found: [(name: [UInt8], value: [UInt8])] = []
    var link: [UInt8]?
    do throws(VolumeError) {
      // Those that show options are shown as options.
      found = try volume.xattrs(id).filter { !FileOption.isShown(by: $0.name) }
        .sorted { $0.name.lexicographicallyPrecedes($1.name) }
      if kind == .symbolicLink { link = try volume.readLink(id) }
    } catch {
      damage.add(path, error.description)
    }
    xattrs = found
    target = link
  }

  private var times: [(name: String, key: String, value: Int64)] {
    [
      ("Access", "atime_ns", attributes.accessTime),
      ("Modify", "mtime_ns", attributes.modificationTime),
      ("Change", "ctime_ns", attributes.changeTime), ("Birth", "btime_ns", attributes.birthTime),
    ]
  }

  func text(path: String) -> String {
    let inode = attributes.inode
    let kind = FileKind(inode)
    var out = "  File: \(SafeText.text(path.isEmpty ? "/".utf8 : path.utf8))"
    if let target { out += " -> \(SafeText.text(target))" }
    out +=
      "\n  Size: \(attributes.byteCount)  Sectors: \(inode.sectors)  \(kind?.name ?? "unknown")\n"
    out += " Inode: \(inode.number)  Subvolume: \(attributes.id.subvolume)"
    out += "  Snapshot: \(inode.snapshot)  Links: \(attributes.linkCount)"
    if kind?.isDevice == true {
      out += "  Device: \(inode.deviceMajor), \(inode.deviceMinor)"
    }
    out += "\nAccess: \(FileText.octalMode(inode))/\(FileText.mode(inode))"
    out += "  Uid: \(inode.uid)  Gid: \(inode.gid)\n"
    for time in times {
      let name = String(repeating: " ", count: 6 - time.name.count) + time.name
      out += "\(name): \(FileText.time(time.value, isLong: true))\n"
    }
    for option in options {
      let note = option.isSetHere ? "" : " (inherited)"
      out += "Option: \(option.name)=\(SafeText.text(option.text.utf8))\(note)\n"
    }
    for xattr in xattrs {
      out += " Xattr: \(SafeText.text(xattr.name)) = 0x\(xattr.value.hexadecimal)\n"
    }
    if let extents { return out + extents.text }
    for range in ranges.prefix(1000) {
      out += "  Data: bytes \(range.lowerBound)-\(range.upperBound - 1)\n"
    }
    if ranges.count > 1000 { out += "  Data: and \(ranges.count - 1000) ranges more\n" }
    return out
  }

  var json: JSONValue {
    var members = FileText.members(attributes, target: target)
    members.append(.init("snapshot", .number(attributes.inode.snapshot)))
    for time in times where time.key != "mtime_ns" {
      members.append(.init(time.key, .signed(time.value)))
    }
    members.append(
      .init("options", .object(options.map { .init($0.name, .string($0.text)) })))
    members.append(
      .init(
        "options_set_here", .array(options.filter(\.isSetHere).map { .string($0.name) })))
    let attributes = xattrs.map { xattr in
      JSONValue.object(
        NameText.members("name", xattr.name)
          + [.init("value_hex", .string(xattr.value.hexadecimal))])
    }
    members.append(.init("xattrs", .array(attributes)))
    let data = ranges.map { range in
      JSONValue.object([
        .init("start", .integer(range.lowerBound)), .init("end", .integer(range.upperBound)),
      ])
    }
    members.append(.init("data", .array(data)))
    if let extents { members.append(.init("extents", extents.json)) }
    return .object(members)
  }
}
