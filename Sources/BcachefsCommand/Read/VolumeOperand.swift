// SPDX-License-Identifier: GPL-2.0
// The volume that a command reads: its name on the command line, its passphrase, its errors.

internal import Bcachefs
internal import BcachefsFormat
internal import Synchronization

enum VolumeOperand {
  /// What every command takes that opens a volume.
  static let options = [
    passphraseFile,
    OptionSpec("degraded", help: "go on when members are missing whose data others have, too"),
    OptionSpec("very_degraded", help: "go on when data is missing"),
  ]
  static let passphraseFile = OptionSpec(
    "passphrase_file", .required(hint: "FILE"), isPath: true,
    help: "unlock an encrypted volume with the first line of FILE; without it the terminal is "
      + "asked")
  static let json = OptionSpec("json", help: "print JSON")

  static let text =
    "VOLUME is named as for mount: DEV[:DEV...] for devices and image files, UUID=... or "
    + "LABEL=.... It is opened read-only: not a byte of it is changed."

  /// Opens the volume that the first operand names.
  ///
  /// - Parameters:
  ///   - namesBadCopies: Whether copies that are found bad are told as they are found.
  ///   - isAllOperands: Each operand names one of the volume's devices.
  static func open(
    _ arguments: ParsedArguments, namesBadCopies: Bool = true, isAllOperands: Bool = false
  ) throws(CommandFailure) -> Volume {
    let operands = arguments.operands.prefix(isAllOperands ? .max : 1)
    let name = operands.joined(separator: ":")
    guard !name.isEmpty else {
      throw .usage("name a volume: DEV[:DEV...]", command: arguments.command)
    }
    let volume = try open(name, arguments, namesBadCopies: namesBadCopies)
    for warning in volume.warnings { Output.remark(arguments.command, warning) }
    return volume
  }

  private static func open(
    _ name: String, _ arguments: ParsedArguments, namesBadCopies: Bool
  ) throws(CommandFailure) -> Volume {
    var options = VolumeOptions()
    if arguments.contains("degraded") { options[.degraded] = 1 }
    if arguments.contains("very_degraded") { options[.veryDegraded] = 1 }
    let remarks = DamageRemarks(command: arguments.command)
    let tell: (@Sendable (String) -> Void)? =
      namesBadCopies ? { @Sendable in remarks.add($0) } : nil
    return try reading { () throws(VolumeError) in
      try Volume.open(
        try VolumeSources(parsing: name), options: options, unlock: unlockSource(arguments),
        onDamage: tell)
    }
  }

  /// Opens the journal of the volume that the operands name, one device each or as mount does:
  /// whichever of its devices are there.
  static func openJournal(
    _ arguments: ParsedArguments, options: VolumeOptions
  ) throws(CommandFailure) -> VolumeJournal {
    let name = arguments.operands.joined(separator: ":")
    guard !name.isEmpty else {
      throw .usage("name a volume: DEV[:DEV...]", command: arguments.command)
    }
    var options = options
    options[.veryDegraded] = 1
    let journal = try reading { () throws(VolumeError) in
      try VolumeJournal.open(
        try VolumeSources(parsing: name), options: options, unlock: unlockSource(arguments))
    }
    for warning in journal.warnings { Output.remark(arguments.command, warning) }
    return journal
  }

  static func unlockSource(_ arguments: ParsedArguments) -> UnlockSource {
    UnlockSource(
      passphraseFile: arguments.value(of: "passphrase_file"),
      ask: Terminal.inputIsTerminal ? { @Sendable in ask($0) } : nil)
  }

  /// Asks the terminal for a passphrase.
  @Sendable static func ask(_ prompt: String) -> String? {
    Terminal.readHidden(prompt).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Runs `body`; an error of the volume ends the command.
  static func reading<Result>(
    _ body: () throws(VolumeError) -> Result
  ) throws(CommandFailure) -> Result {
    do throws(VolumeError) {
      return try body()
    } catch {
      throw CommandFailure(error)
    }
  }

  /// The file of an operand's path.
  static func file(
    _ path: String, in volume: Volume, followsLast: Bool = true
  ) throws(CommandFailure) -> FileID {
    do throws(VolumeError) {
      return try volume.resolve(Array(path.utf8), followsLast: followsLast)
    } catch {
      let failure = CommandFailure(error)
      throw CommandFailure(failure.status, "\(SafeText.text(path.utf8)): \(failure.message)")
    }
  }
}

/// Names copies that were found bad, the first hundred of them; any thread may.
private final class DamageRemarks: Sendable {
  private static let limit = 100
  private let command: String
  private let count = Atomic(0)

  init(command: String) { self.command = command }

  func add(_ text: String) {
    let number = count.add(1, ordering: .relaxed).newValue
    if number <= Self.limit { Output.remark(command, "bad copy: \(text)") }
    if number == Self.limit { Output.remark(command, "more bad copies are not named") }
  }
}

extension CommandFailure {
  init(_ error: VolumeError) {
    if let deviceError = error.deviceError {
      self.init(deviceError)
      return
    }
    let status: ExitStatus =
      switch error.code {
      case .notFound, .notADirectory, .isADirectory, .wrongType, .missingMembers: .noInput
      case .nameTooLong: .usage
      case .foreignMember, .splitBrain, .unsupported: .configuration
      case .locked: .noPermission
      case .notAVolume, .corrupt, .allCopiesBad, .poisoned, .limit: .badData
      case .device: .inputOutput
      case .noSpace, .exists, .notEmpty, .crossSubvolume, .loop, .readOnly, .tooManyLinks,
        .tooLarge, .fileTooLarge, .quotaExceeded:
        .cannotCreate
      case .invalid, .noAttribute: .usage
      case .notPermitted, .accessDenied: .noPermission
      case .cancelled: .temporary
      }
    var advice: String?
    if error.code == .locked { advice = "--passphrase_file names a file with the passphrase." }
    self.init(status, error.description, advice: advice)
  }
}
