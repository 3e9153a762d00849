// SPDX-License-Identifier: GPL-2.0
// bcachefs quota set: limits of users, groups and projects.

internal import Bcachefs
internal import BcachefsFormat

enum QuotaSetCommand {
  /// What can be limited, as options have it.
  private static let limits:
    [(option: String, help: String, set: @Sendable (inout Quota, UInt64) -> Void)] = [
      ("space_soft", "space that may be exceeded for a while", { $0.spaceSoftLimit = $1 }),
      ("space_hard", "space that is never exceeded", { $0.spaceHardLimit = $1 }),
      ("inodes_soft", "inodes that may be exceeded for a while", { $0.inodeSoftLimit = $1 }),
      ("inodes_hard", "inodes that are never exceeded", { $0.inodeHardLimit = $1 }),
    ]

  static let spec = CommandSpec(
    name: "quota set",
    summary: "limit what users, groups and projects may use",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Sets limits of everybody who is named: users and groups by number or by their names on this "
        + "machine, projects by number. Limits that are not given stay; 0 takes one away. Behind a "
        + "hard limit nothing grows; a soft one may be exceeded for the grace period (quota "
        + "grace). Root may exceed all of them.",
      "Space is what files take on devices before compression, one copy counted, in units of 512 "
        + "bytes. Everything with an inode counts as one: files, directories, links. "
        + QuotaCommands.switchingOn,
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Whose limits; may be repeated",
        options: QuotaCommands.types.map { type, option, short in
          OptionSpec(
            option, short: short, .required(hint: "ID"), help: "those of the \(type.word) ID")
        }),
      OptionGroup(
        title: "Limits",
        options: limits.map { limit in
          OptionSpec(
            limit.option, .required(hint: limit.option.hasPrefix("space") ? "SIZE" : "COUNT"),
            help: limit.help)
        }),
      OptionGroup(title: "Options", options: [VolumeOperand.json] + ChangedVolume.options),
    ],
    examples: [
      CommandExample(
        line: "bcachefs quota set -u 1000 --space_soft=9G --space_hard=10G /dev/sdb",
        text: "Ten gibibytes for a user, nine for good:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    let owners = try owners(arguments)
    var wanted: [(set: (inout Quota, UInt64) -> Void, value: UInt64)] = []
    for limit in limits {
      guard let text = arguments.value(of: limit.option) else { continue }
      let isSpace = limit.option.hasPrefix("space")
      guard let value = isSpace ? sectors(text) : UInt64(text) else {
        throw .usage(
          "--\(limit.option): \(text) is no \(isSpace ? "size" : "number")", command: spec.name)
      }
      wanted.append((limit.set, value))
    }
    guard !owners.isEmpty, !wanted.isEmpty else {
      throw .usage("name whose limits, and which", command: spec.name)
    }
    var done: [JSONValue] = []
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      QuotaCommands.remarkIfOff(
        QuotaType.all.filter { type in owners.contains { $0.type == type } }, in: volume.system,
        arguments)
      for (type, id) in owners {
        let quota = try VolumeOperand.reading { () throws(VolumeError) in
          try volume.system.setQuota(type, of: id) { quota in
            for (set, value) in wanted { set(&quota, value) }
          }
        }
        done.append(
          .object(
            [.init("type", .string(type.word)), .init("id", .number(id))] + quota.members))
      }
    }
    if arguments.contains("json") { Output.write(.array(done)) }
  }

  /// Sectors of a size, a part of one counts; nil where it is none.
  private static func sectors(_ text: String) -> UInt64? {
    HumanSize.parse(text).map { $0 / 512 + ($0 % 512 > 0 ? 1 : 0) }
  }

  private static func owners(
    _ arguments: ParsedArguments
  ) throws(CommandFailure) -> [(type: QuotaType, id: UInt32)] {
    var result: [(type: QuotaType, id: UInt32)] = []
    for (type, option, _) in QuotaCommands.types {
      for text in arguments.values(of: option) {
        let id: UInt32? =
          switch type {
          case .usr: Caller.userID(text)
          case .grp: Caller.groupID(text)
          default: UInt32(text)
          }
        guard let id else {
          throw CommandFailure(.noInput, "there is no \(type.word) \(text) on this machine")
        }
        result.append((type, id))
      }
    }
    return result
  }
}
