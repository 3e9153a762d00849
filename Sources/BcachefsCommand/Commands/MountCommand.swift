// SPDX-License-Identifier: GPL-2.0
// bcachefs mount: shows a volume as a directory, by FUSE. mount.fuse.bcachefs is the same for
// mount(8).
//
// How it works
//   1. In the background (as mounts are) the process forks before anything else: the command ends
//      with success once the mount can be used, or with the exit code of what went wrong.
//   2. Called as `mount.fuse.bcachefs`, it takes the command line that mount(8) has for its
//      helpers.
//   3. A mount for changes closes the volume when it ends, whatever ended it.
// Invariants
//   (1) With -o ro nothing is opened for writing.
// Exit codes are those of mount(8): 1 for a wrong command line, 2 for the system, 32 for the rest.

internal import Bcachefs
internal import BcachefsFUSE
internal import BcachefsFormat
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

enum MountCommand {
  static let spec = CommandSpec(
    name: "mount",
    summary: "mount a volume through FUSE",
    synopsis: "[-o OPTION,...] DEVICE[:DEVICE...] DIRECTORY",
    text: [
      "Mounts a volume by FUSE, on any kernel, and returns once it can be used. bcachefs umount "
        + "ends it, and so do umount, fusermount3 -u, SIGTERM, SIGINT and SIGHUP: then everything "
        + "is written and the volume is closed, which only bcachefs umount waits for (and umount, "
        + "where this program is installed as umount.fuse.bcachefs). What fsync has returned for "
        + "is there whatever happens before. The format version stays what it is, unless "
        + "-o version_upgrade says otherwise.",
      "Reading leaves access times as they are: they change when a file is made, and where they "
        + "are set.",
      "With -o ro nothing at all is written to the devices: a volume that was never unmounted "
        + "shows what its journal has, and the journal stays as it is.",
      "An encrypted volume is unlocked by --passphrase_file, else by the key that unlock left in "
        + "the keyring, else the terminal is asked.",
      "Not only root may mount: it takes fusermount3, and a directory of one's own. Then nobody "
        + "else sees the mount, unless -o allow_other says so and /etc/fuse.conf has "
        + "user_allow_other.",
      "Installed as mount.fuse.bcachefs it serves mount(8) and fstab: a line with the type "
        + "fuse.bcachefs. Its exit codes are those of mount(8): 1 for a wrong "
        + "command line, 2 for what the system refused, 32 for everything else.",
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "options", short: "o", .required(hint: "LIST"),
            help: "NAME[=VALUE] separated by commas, as below; may be repeated"),
          OptionSpec(
            "passphrase_file", .required(hint: "FILE"), isPath: true,
            help: "the file that holds the passphrase"),
          OptionSpec(
            "key_location", short: "k", .required(hint: "HOW"),
            choices: MountUnlock.allCases.map(\.rawValue),
            help: "without a key in the keyring: fail, wait until there is one, or ask (default)"),
          OptionSpec(
            "foreground", short: "f", help: "stay in the foreground, errors on the terminal"),
        ])
    ],
    terms: [TermGroup(title: "Mount options (-o)", terms: MountOptions.help)],
    examples: [
      CommandExample(line: "bcachefs mount /dev/sdb:/dev/sdc /mnt", text: "Two devices:"),
      CommandExample(
        line: "bcachefs mount -o ro,degraded UUID=5e44e763-138c-4413-a811-70815915da4a /mnt",
        text: "One that lost a device:"),
      CommandExample(
        line: "LABEL=backup /backup fuse.bcachefs ro,nofail,x-systemd.automount 0 0",
        text: "A line of fstab:"),
    ],
    run: run)

  /// The same, for those who look for it by this name.
  static let otherName = CommandSpec(
    name: "fusemount", summary: "the same as mount", synopsis: spec.synopsis, text: spec.text,
    groups: spec.groups, terms: spec.terms, examples: spec.examples, run: run)

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
    let word = arguments.value(of: "key_location") ?? MountUnlock.ask.rawValue
    guard let how = MountUnlock(rawValue: word) else {
      throw .usage("--key_location=\(word): fail, wait or ask", command: arguments.command)
    }
    MountRun.exiting {
      try MountRun.run(
        source: operands[0], directory: operands[1], options: MountOptions(parsing: lists),
        unlock: how, isForeground: isForeground)
    }
  }
}

/// What is done for an encrypted volume whose key is not in the keyring.
enum MountUnlock: String, CaseIterable {
  case fail, wait, ask
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
        source: request.source, directory: request.directory, options: options, unlock: .ask,
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
    source: String, directory: String, options: MountOptions, unlock: MountUnlock,
    isForeground: Bool
  ) throws {
    let background = isForeground ? nil : try Background.start()
    let log = MountLog()
    for name in options.optionsWithoutEffect {
      log.add("option \(name) has no effect on this mount")
    }
    let becameReady = { @Sendable in
      guard let background else { return }
      log.detach()
      background.succeed()
    }
    guard options.isReadOnly else {
      return try runWriting(source, directory, options, unlock, log, becameReady)
    }
    let volume = try open(options, unlock) { (unlock) throws(VolumeError) in
      try Volume.open(
        VolumeSources(parsing: source), options: options.volumeOptions, unlock: unlock,
        onDamage: log.add)
    }
    _ = try MountCheck.run(volume, options, log: log.add)
    for line in volume.warnings { log.add(line) }
    let end = MountEnd()
    let mount = try Mount(volume, source: source, directory: directory, options: options)
    try mount.serve(log: log.add, end: end, becameReady: becameReady)
    end.tell(nil)
  }

  /// Mounts a volume for changes, serves it, and closes it.
  private static func runWriting(
    _ source: String, _ directory: String, _ options: MountOptions, _ unlock: MountUnlock,
    _ log: MountLog, _ becameReady: @escaping @Sendable () -> Void
  ) throws {
    let system = try open(options, unlock) { (unlock) throws(VolumeError) in
      var settings = FileSystemOptions(seed: UInt64.random(in: .min ... .max))
      settings.volume = options.volumeOptions
      settings.unlock = unlock
      settings.onDamage = log.add
      let sources = try VolumeSources(parsing: source)
      return try ClosingMount.waiting(for: source) { () throws(VolumeError) in
        var findings: [FsckErrorID: Int] = [:]
        if options.volumeOptions.isOn(.fsck) {
          findings = try MountCheck.run(
            Volume.open(sources, options: options.volumeOptions, unlock: unlock), options,
            log: log.add)
        }
        let system = try FileSystem.open(sources, settings)
        system.recordFindings(findings)
        return system
      }
    }
    for line in system.warnings { log.add(line) }
    var failure: (any Error)?
    let end = MountEnd()
    do {
      let mount = try Mount(system, source: source, directory: directory, options: options)
      try mount.serve(log: log.add, end: end, becameReady: becameReady)
    } catch {
      failure = error
    }
    // What is lost is one thing, a volume that is not closed another.
    var lost: VolumeError?
    do throws(VolumeError) { try system.sync() } catch { lost = error }
    do throws(VolumeError) {
      try system.close()
      if let lost {
        log.add("the volume is closed, but something that was written is lost: \(lost)")
        failure = failure ?? lost
      }
      end.tell(lost.map { "something that was written is lost: \($0)" })
    } catch {
      log.add("the volume could not be closed, and is as after a crash: \(error)")
      end.tell("the volume could not be closed, and is as after a crash: \(error)")
      failure = failure ?? error
    }
    if let failure { throw failure }
  }

  /// Opens a volume, which may have to be unlocked first.
  private static func open<Opened>(
    _ options: MountOptions, _ how: MountUnlock,
    _ body: (UnlockSource) throws(VolumeError) -> Opened
  ) throws(VolumeError) -> Opened {
    let canAsk = how == .ask && Terminal.inputIsTerminal
    // A volume that is checked first is opened twice.
    let answer = Mutex<String?>(nil)
    let ask = { @Sendable (prompt: String) -> String? in
      answer.withLock { answer in
        if answer == nil { answer = VolumeOperand.ask(prompt) }
        return answer
      }
    }
    let unlock = UnlockSource(
      passphraseFile: options.passphraseFile, ask: canAsk ? ask : nil)
    while true {
      do throws(VolumeError) {
        return try body(unlock)
      } catch {
        guard error.code == .locked, how == .wait, unlock.passphraseFile == nil else {
          throw error
        }
        sleep(1)
      }
    }
  }
}

/// What a mount has to say: on the terminal while the command runs, later in the system's log.
private final class MountLog: Sendable {
  private let isDetached = Atomic(false)

  @Sendable func add(_ line: String) {
    if isDetached.load(ordering: .relaxed) {
      Background.log(line)
    } else {
      Output.remark(MountCommand.spec.name, line)
    }
  }

  func detach() { isDetached.store(true, ordering: .relaxed) }
}
