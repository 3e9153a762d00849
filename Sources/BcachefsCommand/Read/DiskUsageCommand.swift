// SPDX-License-Identifier: GPL-2.0
// bcachefs du: what directories take.

internal import Bcachefs
internal import BcachefsFormat

enum DiskUsageCommand {
  static let spec = CommandSpec(
    name: "du",
    summary: "show what directories take",
    synopsis: "[OPTION...] VOLUME [PATH]",
    text: [
      "Prints for every directory below PATH, or of the whole volume, the space of all files in "
        + "it, in KiB as du(1) does. That is what their data were before compression, counted once "
        + "whatever the number of replicas. A file with several names counts where it is found "
        + "first; what is shared by reflinks or snapshots counts for each of them.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("all", short: "a", help: "files, too"),
          OptionSpec("summarize", short: "s", help: "PATH only"),
          OptionSpec("apparent_size", help: "the files' sizes, not their space"),
          OptionSpec("bytes", short: "b", help: "the files' sizes, in bytes"),
          OptionSpec("human_readable", help: "units for people: 1.50 MiB"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(
        line: "bcachefs du -s --human_readable volume.img home", text: "One directory:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count <= 2 else {
      throw .usage("one path at a time", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let path = arguments.operands.dropFirst().first ?? ""
    let root = try VolumeOperand.file(path, in: volume, followsLast: false)
    let damage = DamageReport(command: spec.name)
    let sum = DiskUsageSum(arguments, prefix: Array(path.utf8))
    try TreeWalk(volume: volume, isSorted: false, damage: damage).run(
      from: root,
      visit: { (entry) throws(CommandFailure) in try sum.visit(entry) },
      leave: { (entry) throws(CommandFailure) in try sum.leave(entry) })
    try sum.finish()
    try damage.finish()
  }
}

private final class DiskUsageSum {
  private let prefix: [UInt8]
  private let showsFiles: Bool
  private let onlyRoot: Bool
  private let isApparent: Bool
  private let isInBytes: Bool
  private let isHuman: Bool
  private let isJSON: Bool
  private let output = ByteOutput()
  /// Of the directories on the way down.
  private var sums: [UInt64] = []
  /// Files with several names that were counted.
  private var counted: Set<FileID> = []
  private var isFirst = true

  init(_ arguments: ParsedArguments, prefix: [UInt8]) {
    self.prefix = prefix
    showsFiles = arguments.contains("all")
    onlyRoot = arguments.contains("summarize")
    isInBytes = arguments.contains("bytes")
    isApparent = isInBytes || arguments.contains("apparent_size")
    isHuman = arguments.contains("human_readable")
    isJSON = arguments.contains("json")
  }

  func visit(_ entry: WalkEntry) throws(CommandFailure) -> Bool {
    let inode = entry.inode
    var bytes = isApparent ? inode.size : inode.sectors &* 512
    if entry.isDirectory {
      if isApparent { bytes = 0 }
      sums.append(bytes)
      return true
    }
    if entry.attributes.linkCount > 1 && !counted.insert(entry.id).inserted { return false }
    if let last = sums.indices.last { sums[last] &+= bytes }
    if entry.depth == 0 || showsFiles && !onlyRoot { try show(entry, bytes) }
    return false
  }

  func leave(_ entry: WalkEntry) throws(CommandFailure) {
    let bytes = sums.removeLast()
    if let last = sums.indices.last { sums[last] &+= bytes }
    if entry.depth == 0 || !onlyRoot { try show(entry, bytes) }
  }

  private func show(_ entry: WalkEntry, _ bytes: UInt64) throws(CommandFailure) {
    let slash = prefix.isEmpty || entry.path.isEmpty ? [] : [UInt8(ascii: "/")]
    let path = prefix + slash + entry.path
    let shown = path.isEmpty ? Array("/".utf8) : path
    if isJSON {
      try output.write(isFirst ? "[\n  " : ",\n  ")
      isFirst = false
      let members = NameText.members("path", shown) + [.init("bytes", .integer(bytes))]
      try output.write(JSONValue.object(members).text(indented: false))
      return
    }
    let size =
      isHuman
      ? HumanSize.text(bytes)
      : isInBytes ? "\(bytes)" : "\(bytes / 1024 + (bytes % 1024 == 0 ? 0 : 1))"
    try output.write("\(size)\t")
    try output.write(name: shown)
    try output.write("\n")
  }

  func finish() throws(CommandFailure) {
    if isJSON { try output.write(isFirst ? "[]\n" : "\n]\n") }
    try output.flush()
  }
}
