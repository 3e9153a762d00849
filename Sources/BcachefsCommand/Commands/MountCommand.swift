// SPDX-License-Identifier: GPL-2.0
// bcachefs mount: shows a volume as a directory, by FUSE. mount.fuse.bcachefs is the same for
// mount(8).
//
// How it works
//   1. In the background (as mounts are) the process forks before anything else: the command ends
//      with success once the mount can be used, or with the exit code of what went wrong.
//   2. Called as `mount.fuse.bcachefs`, it takes the command line that mount(8) has for its
//      helpers.
// Exit codes are those of mount(8): 1 for a wrong command line, 2 for the system, 32 for the rest.

internal import Bcachefs
internal import BcachefsFUSE

#if canImport(Glibc)
internal import Glibc
#endif

enum MountCommand {
  static let spec = CommandSpec(
    name: "mount",
    summary: "show a volume as a directory, read-only, through FUSE",
    synopsis: "-o ro[,OPTION...] DEVICE[:DEVICE...] DIRECTORY",
    text: [
      "Mounts a volume by FUSE, on any kernel and without writing to its devices, and returns "
        + "once it "
        + "can be used. umount (or fusermount3 -u) ends it, and so does SIGTERM.",
      "Only read-only mounts are made: ro must be among the options. Others: subvol=PATH shows "
        + "that "
        + "directory as the root; allow_other and noallow_other say whether other users may look "
        + "(if root mounts they may, as with any mount); passphrase_file=FILE; suid, dev, exec and "
        + "their opposites; and the volume's own mount options, as degraded.",
      "Installed as mount.fuse.bcachefs it serves fstab: a line with the type fuse.bcachefs and "
        + "the "
        + "option ro. Its exit codes are those of mount(8).",
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "options", short: "o", .required(hint: "LIST"),
            help: "NAME[=VALUE] separated by commas; may be repeated"),
          OptionSpec(
            "passphrase_file", .required(hint: "FILE"), isPath: true,
            help: "the file that holds the passphrase"),
          OptionSpec(
            "foreground", short: "f", help: "stay in the foreground, errors on the terminal"),
        ])
    ],
    examples: [
      CommandExample(line: "bcachefs mount -o ro /dev/sdb:/dev/sdc /mnt", text: "Two devices:")
    ],
    run: run)

  /// The same, for those who look for it by this name.
  static let otherName = CommandSpec(
    name: "fusemount", summary: "the same as mount", synopsis: spec.synopsis, text: spec.text,
    groups: spec.groups, examples: [], run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    let operands = arguments.operands
    guard operands.count == 2 else {
      throw .usage("name what to mount and where", command: arguments.command)
    }
    var lists: [String] = arguments.parts.compactMap { part in
      if case .option(let option, let value) = part, option.name == "options" { value } else { nil }
    }
    if let file = arguments.value(of: "passphrase_file") { lists.append("passphrase_file=\(file)") }
    let isForeground = arguments.contains("foreground")
    MountRun.exiting {
      try MountRun.run(
        source: operands[0], directory: operands[1], options: MountOptions(parsing: lists),
        isForeground: isForeground)
    }
  }
}

/// Runs mounts, and ends the process as mount(8) would.
enum MountRun {
  /// Does what mount(8) asks for, if this is what called us; does not return then.
  static func runIfHelper() {
    let words = CommandLine.arguments
    guard let program = words.first, MountHelperRequest.isHelper(program) else { return }
    exiting {
      let request = try MountHelperRequest(parsing: Array(words.dropFirst()))
      let options = try MountOptions(parsing: request.options)
      guard !request.isFake else { return }
      try run(
        source: request.source, directory: request.directory, options: options,
        isForeground: false)
    }
  }

  static func exiting(_ body: () throws -> Void) -> Never {
    do {
      try body()
      exit(0)
    } catch let error as MountError {
      Output.remark(MountCommand.spec.name, "\(error)")
      exit(error.exitCode)
    } catch let failure as CommandFailure {
      Output.remark(MountCommand.spec.name, failure.message)
      exit(32)
    } catch {
      Output.remark(MountCommand.spec.name, "\(error)")
      exit(32)
    }
  }

  /// Mounts and serves. In the background the caller's process ends once the mount can be used.
  static func run(
    source: String, directory: String, options: MountOptions, isForeground: Bool
  ) throws {
    let background = isForeground ? nil : try Background.start()
    let volume = try open(source, options)
    for line in volume.warnings { say(line) }
    let mount = try Mount(volume, source: source, directory: directory, options: options)
    try mount.serve(
      log: background == nil ? say : Background.log, becameReady: { background?.succeed() })
  }

  private static func open(_ source: String, _ options: MountOptions) throws -> Volume {
    var unlock = UnlockSource.keyring
    unlock.passphraseFile = options.passphraseFile
    return try Volume.open(
      VolumeSources(parsing: source), options: options.volumeOptions, unlock: unlock)
  }

  @Sendable private static func say(_ line: String) {
    Output.remark(MountCommand.spec.name, line)
  }
}
