// SPDX-License-Identifier: GPL-2.0
// bcachefs unlock: leaves the key of an encrypted volume where mounting and this program look.
//
// Source: bcachefs-tools 1.39, src/commands/key.rs.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

enum UnlockCommand {
  static let spec = CommandSpec(
    name: "unlock",
    summary: "give the kernel the key of an encrypted volume",
    synopsis: "[OPTION...] DEVICE",
    text: [
      "Asks for the passphrase of an encrypted volume and puts the key that it stands for into a "
        + "keyring of the kernel, as a key of type \"user\" named bcachefs:UUID. From then on the "
        + "volume can be mounted, and read by all commands, without the passphrase, until the "
        + "keyring goes or `keyctl purge` removes the key. Nothing is written to the device.",
      "The user keyring (the default) is that of all sessions of the user, session that of this "
        + "login alone. mount(8) only looks where its session does: if it finds no key after "
        + "unlock, the session does not have the user keyring; unlock with -k session there. Where "
        + "standard input is no terminal, its first line is the passphrase.",
      "DEVICE is any device of the volume, or UUID=..., LABEL=....",
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "check", short: "c",
            help: "only say whether the volume is encrypted, and whether its key is there; the "
              + "exit code is 1 for one that needs no passphrase"),
          OptionSpec(
            "keyring", short: "k", .required(hint: "KEYRING"),
            choices: KernelKeyring.allCases.map(\.rawValue),
            help: "which keyring (default: user): session, user, user_session"),
          OptionSpec(
            "file", short: "f", .required(hint: "FILE"), aliases: ["passphrase_file"],
            isPath: true, help: "the file that has the passphrase"),
          VolumeOperand.json,
        ])
    ],
    examples: [
      CommandExample(
        line: "bcachefs unlock /dev/sdb && mount -t bcachefs /dev/sdb /mnt",
        text: "Mount an encrypted volume:"),
      CommandExample(
        line: "bcachefs unlock --check /dev/sdb", text: "Does it have to be unlocked?"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1, let name = arguments.operands.first, !name.isEmpty else {
      throw .usage("name one device of the volume", command: spec.name)
    }
    let keyring = try keyring(arguments)
    let sources = try VolumeOperand.reading { () throws(VolumeError) in
      try VolumeSources(parsing: name)
    }
    if arguments.contains("check") {
      try check(sources, isJSON: arguments.contains("json"))
      return
    }
    let source = UnlockSource(
      passphraseFile: arguments.value(of: "file"), usesKeyring: false,
      ask: { @Sendable prompt in passphrase(prompt) })
    let description: String
    do throws(VolumeError) {
      description = try VolumeUnlock.addKey(of: sources, from: source, to: keyring)
    } catch {
      throw failure(error)
    }
    if arguments.contains("json") {
      Output.write(
        .object([
          .init("key", .string(description)), .init("keyring", .string(keyring.rawValue)),
        ]))
    }
  }

  private static func keyring(
    _ arguments: ParsedArguments
  ) throws(CommandFailure) -> KernelKeyring {
    guard let text = arguments.value(of: "keyring") else { return .user }
    guard let keyring = KernelKeyring(rawValue: text) else {
      throw .usage(
        "--keyring: \(text) is none of session, user, user_session", command: spec.name)
    }
    return keyring
  }

  @Sendable private static func passphrase(_ prompt: String) -> String? {
    let line = Terminal.inputIsTerminal ? Terminal.readHidden(prompt) : Terminal.readLineBytes()
    return line.map { String(decoding: $0, as: UTF8.self) }
  }

  private static func failure(_ error: VolumeError) -> CommandFailure {
    let failure = CommandFailure(error)
    guard error.deviceError?.operation == .addKey else { return failure }
    return CommandFailure(
      failure.status, failure.message,
      advice: "Containers often have no keyrings: unlock outside of it, or give commands the "
        + "passphrase with --passphrase_file.")
  }

  private static func check(_ sources: VolumeSources, isJSON: Bool) throws(CommandFailure) {
    let state = try VolumeOperand.reading { () throws(VolumeError) in
      try VolumeUnlock.state(of: sources)
    }
    if isJSON {
      Output.write(
        .object([
          .init("encrypted", .bool(state != .notEncrypted)),
          .init("needs_passphrase", .bool(state == .locked || state == .unlocked)),
          .init("unlocked", .bool(state == .unlocked)),
        ]))
    } else {
      Output.write("Device \(state.rawValue)\n")
    }
    // What boot scripts of upstream ask for: 0 where there is something to unlock.
    if state == .notEncrypted || state == .keyIsPlain { exit(1) }
  }
}
