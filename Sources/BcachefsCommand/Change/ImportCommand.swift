// SPDX-License-Identifier: GPL-2.0
// bcachefs import: a tar archive from standard input into a volume.

internal import Bcachefs
internal import BcachefsFormat

#if canImport(Glibc)
internal import Glibc
#endif

enum ImportCommand {
  static let spec = CommandSpec(
    name: "import",
    summary: "unpack a tar archive into a volume",
    synopsis: "[OPTION...] VOLUME [PATH] <FILE",
    text: [
      "Unpacks a tar archive from standard input into the directory PATH, or into the volume's "
        + "root: what export, GNU tar, libarchive and star write, with long names, times to the "
        + "nanosecond, holes, extended attributes and ACLs. Owners are the archive's numbers.",
      "Nothing appears before the whole archive was read and found good: then PATH gets its name, "
        + "or where it is a directory already what was unpacked goes into it name by name, in "
        + "place of what has those names. A member that would lead out of PATH, by its name or as "
        + "a hard link, is refused, and nothing changes. A run that is killed may leave a "
        + "directory .bcachefs-unfinished-... there: rm -r removes it.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("workers", .required(hint: "N"), help: "write N files at a time (default: 4)"),
          OptionSpec("quiet", short: "q", help: "no progress on the terminal"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(
        line: "bcachefs export old.img | bcachefs import new.img",
        text: "Everything of one volume into another:"),
      CommandExample(
        line: "zstd -dc home.tar.zst | bcachefs import /dev/sdb home", text: "A compressed archive:"
      ),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard 1...2 ~= arguments.operands.count else {
      throw .usage("name a volume, and at most one directory", command: spec.name)
    }
    guard isatty(STDIN_FILENO) != 1 else {
      throw CommandFailure(
        .usage, "no archive comes from a terminal", advice: "Redirect it: <FILE, or tar -c ... |")
    }
    let workers = try Workers.count(arguments)
    let path = arguments.operands.dropFirst().first ?? "/"
    let report = ChangeReport(spec.name)
    let progress = TransferProgress(isWanted: !arguments.contains("quiet"))
    var members: UInt64 = 0
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      let existing = try volume.fileIfPresent(path)
      if let existing, existing.kind != .directory {
        throw CommandFailure(VolumeError(.notADirectory), at: Array(path.utf8))
      }
      let place = try existing == nil ? volume.place(path) : nil
      guard let parent = existing?.id ?? place?.parent else { return }
      let hidden = try volume.naming(Array(path.utf8)) { () throws(VolumeError) in
        try HiddenDirectory(in: parent, of: volume.system)
      }
      do throws(CommandFailure) {
        let tar = TarImport(
          TarReader(TarInput()), into: hidden.id, of: volume.system, progress: progress,
          workers: workers)
        try tar.run()
        members = tar.memberCount
        try publish(hidden, tar.rootAttributes, place, existing?.id, path, volume, report)
        if place == nil { try hidden.remove() }
      } catch {
        progress.finish()
        do throws(CommandFailure) { try hidden.remove() } catch {
          Output.remark(spec.name, error.message)
        }
        throw error
      }
    }
    progress.finish()
    try report.finish(
      arguments,
      [.init("members", .integer(members))] + progress.members.filter { $0.name == "bytes" })
  }

  private static func publish(
    _ hidden: HiddenDirectory, _ attributes: NewAttributes?, _ place: VolumePlace?,
    _ existing: FileID?, _ path: String, _ volume: ChangedVolume, _ report: ChangeReport
  ) throws(CommandFailure) {
    let system = volume.system
    if let existing {
      return try TreeMerge(system: system, report: report).run(
        from: hidden.id, to: existing, path: Array(path.utf8), attributes: attributes)
    }
    guard let place else { return }
    let root =
      attributes
      ?? NewAttributes(
        permissions: 0o755, uid: Caller.uid, gid: Caller.gid, time: system.nowNanoseconds)
    try volume.naming(place.path) { () throws(VolumeError) in
      try root.give(to: hidden.id, of: system, isDirectory: true, clearsLists: false)
      try hidden.publish(as: place.name)
    }
    report.addDone()
  }
}
