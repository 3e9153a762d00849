// SPDX-License-Identifier: GPL-2.0
// Whose quotas a command is about, and how limits and times are written.

internal import Bcachefs
internal import BcachefsFormat

/// The commands of quotas of volumes that nobody has mounted.
enum QuotaCommands {
  static let all: [CommandSpec] = [
    QuotaReportCommand.spec, QuotaSetCommand.spec, QuotaGraceCommand.spec,
  ]

  /// The types of quota, and the option that stands for each.
  static let types: [(type: QuotaType, option: String, short: Character)] = [
    (.usr, "user", "u"), (.grp, "group", "g"), (.prj, "project", "p"),
  ]

  /// Bytes of sectors; damaged volumes may have any number of those.
  static func bytes(_ sectors: UInt64) -> UInt64 {
    let (bytes, overflow) = sectors.multipliedReportingOverflow(by: 512)
    return overflow ? .max : bytes
  }

  /// How a type is switched on.
  static let switchingOn =
    "Quotas count where the volume's options usrquota, grpquota and prjquota switch them on: "
    + "\"bcachefs set-fs-option --usrquota VOLUME\", or the option of that name of a mount."

  /// Options that choose types: flags.
  static let choices = types.map { type, option, short in
    OptionSpec(option, short: short, help: "quotas of \(type.word)s")
  }

  /// The types whose flags were given.
  static func chosen(_ arguments: ParsedArguments) -> [QuotaType] {
    types.filter { arguments.contains($0.option) }.map(\.type)
  }

  /// Says of types that limits do not count yet.
  static func remarkIfOff(
    _ types: [QuotaType], in system: FileSystem, _ arguments: ParsedArguments
  ) {
    for type in types where !system.hasQuota(type) {
      Output.remark(
        arguments.command,
        "\(type.word) quotas are off: bcachefs set-fs-option --\(type)quota switches them on")
    }
  }
}

/// How long a soft limit may be exceeded, as it is read and written.
enum GraceTime {
  private static let units: [(letter: Character, seconds: UInt64)] = [
    ("w", 7 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1),
  ]

  /// Seconds of `90`, `90s`, `30m`, `12h`, `7d`, `2w`; nil for anything else, and for more than the
  /// format can hold.
  static func seconds(_ text: String) -> UInt32? {
    var digits = Substring(text)
    var unit: UInt64 = 1
    if let found = units.first(where: { $0.letter == digits.last }) {
      digits.removeLast()
      unit = found.seconds
    }
    guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
      let number = UInt64(digits)
    else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit)
    return overflow ? nil : UInt32(exactly: product)
  }

  /// `7d`, `36h`, `90s`: in the largest unit without a rest, weeks aside.
  static func text(_ seconds: UInt32) -> String {
    let seconds = UInt64(seconds)
    let unit = units.dropFirst().first { seconds > 0 && seconds % $0.seconds == 0 }
    return unit.map { "\(seconds / $0.seconds)\($0.letter)" } ?? "\(seconds)s"
  }
}
