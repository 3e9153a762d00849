// SPDX-License-Identifier: GPL-2.0
// bcachefs quota report: who uses how much of a volume, and how much it may be.
//
// How it works
//   All inodes are counted, as the driver does when it mounts a volume with quotas on; limits come
//   from the quotas btree, grace periods from the superblock.

internal import Bcachefs
internal import BcachefsFormat

enum QuotaReportCommand {
  static let spec = CommandSpec(
    name: "quota report",
    summary: "show what users, groups and projects use and may use",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Counts what every user, group and project has on a volume, space and inodes, and shows the "
        + "limits beside it: those of the types that are chosen, else of those that are on, else "
        + "of all. Sizes are bytes; 0 is no limit. \"+\" marks what is over its soft limit, first "
        + "of space, then of inodes.",
      "What is in a snapshot of a subvolume counts for nobody, as with the driver. "
        + QuotaCommands.switchingOn,
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: QuotaCommands.choices + [
          OptionSpec("human_readable", short: "h", help: "units for people: 1.50 MiB"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs quota report -u -h volume.img", text: "Users, for people:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let all = try VolumeOperand.reading { () throws(VolumeError) in try volume.quotaReports() }
    let chosen = QuotaCommands.chosen(arguments)
    var shown = all.filter { chosen.isEmpty ? $0.isOn : chosen.contains($0.type) }
    if shown.isEmpty { shown = all }
    if arguments.contains("json") {
      Output.write(.object(shown.map { .init($0.type.word, $0.json) }))
    } else {
      let isHuman = arguments.contains("human_readable")
      Output.write(shown.map { $0.text(isHuman: isHuman) }.joined(separator: "\n"))
    }
  }
}

extension QuotaReport {
  /// A heading, and a line for each.
  fileprivate func text(isHuman: Bool) -> String {
    func size(_ sectors: UInt64) -> String {
      let bytes = QuotaCommands.bytes(sectors)
      return isHuman ? HumanSize.text(bytes) : "\(bytes)"
    }
    let name = type.word.prefix(1).uppercased() + type.word.dropFirst()
    var table = TextTable([
      name, "Over", "Space", "Soft", "Hard", "Inodes", "Soft", "Hard",
    ])
    for entry in entries {
      let limits = entry.limits
      func mark(_ isOver: Bool) -> String { isOver ? "+" : "-" }
      table.add([
        "\(entry.id)", mark(entry.isOverSpace) + mark(entry.isOverInodes),
        size(entry.usedSectors), size(limits.spaceSoftLimit), size(limits.spaceHardLimit),
        "\(entry.usedInodes)", "\(limits.inodeSoftLimit)", "\(limits.inodeHardLimit)",
      ])
    }
    return "\(name) quotas are \(isOn ? "on" : "off"); grace: space "
      + "\(GraceTime.text(grace.space.timeLimit)), inodes "
      + "\(GraceTime.text(grace.inodes.timeLimit))\n" + table.text
  }

  fileprivate var json: JSONValue {
    .object([
      .init("on", .bool(isOn)),
      .init("space_grace_seconds", .number(grace.space.timeLimit)),
      .init("inodes_grace_seconds", .number(grace.inodes.timeLimit)),
      .init("entries", .array(entries.map(\.json))),
    ])
  }
}

extension QuotaEntry {
  fileprivate var isOverSpace: Bool {
    limits.spaceSoftLimit > 0 && usedSectors > limits.spaceSoftLimit
  }

  fileprivate var isOverInodes: Bool {
    limits.inodeSoftLimit > 0 && usedInodes > limits.inodeSoftLimit
  }

  fileprivate var json: JSONValue {
    .object(
      [
        .init("id", .number(id)), .init("space_used", .integer(QuotaCommands.bytes(usedSectors))),
        .init("inodes_used", .integer(usedInodes)),
      ] + limits.members)
  }
}

extension Quota {
  /// In bytes and inodes, 0 for none.
  var members: [JSONValue.Member] {
    [
      .init("space_soft", .integer(QuotaCommands.bytes(spaceSoftLimit))),
      .init("space_hard", .integer(QuotaCommands.bytes(spaceHardLimit))),
      .init("inodes_soft", .integer(inodeSoftLimit)),
      .init("inodes_hard", .integer(inodeHardLimit)),
    ]
  }
}
