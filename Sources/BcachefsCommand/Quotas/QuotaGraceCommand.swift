// SPDX-License-Identifier: GPL-2.0
// bcachefs quota grace: for how long soft limits may be exceeded.

internal import Bcachefs
internal import BcachefsFormat

enum QuotaGraceCommand {
  private static let counters = ["space", "inodes"]

  static let spec = CommandSpec(
    name: "quota grace",
    summary: "say for how long soft limits may be exceeded",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Sets the grace periods of the types of quota that are chosen, or of all. Who exceeds a soft "
        + "limit has so long before nothing more is let through; it begins anew with each mount. A "
        + "week counts where nothing was set. TIME is in seconds, or with a unit: 30m, 12h, 7d, "
        + "2w.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: QuotaCommands.choices
          + counters.map { counter in
            OptionSpec(
              counter, .required(hint: "TIME"), help: "for soft limits of \(counter)")
          } + [VolumeOperand.json] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(
        line: "bcachefs quota grace -u --space=3d --inodes=1d volume.img", text: "For users:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    var times: [UInt32?] = []
    for counter in counters {
      let text = arguments.value(of: counter)
      let seconds = text.flatMap(GraceTime.seconds)
      guard text == nil || seconds != nil else {
        throw .usage("--\(counter): \(text ?? "") is no time", command: spec.name)
      }
      times.append(seconds)
    }
    let (space, inodes) = (times[0], times[1])
    guard space != nil || inodes != nil else {
      throw .usage("--space or --inodes says for how long", command: spec.name)
    }
    let chosen = QuotaCommands.chosen(arguments)
    let types = chosen.isEmpty ? QuotaType.all : chosen
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      QuotaCommands.remarkIfOff(chosen, in: volume.system, arguments)
      try VolumeOperand.reading { () throws(VolumeError) in
        for type in types {
          try volume.system.setQuotaGrace(type, space: space, inodes: inodes)
        }
      }
    }
    guard arguments.contains("json") else { return }
    var members: [JSONValue.Member] = []
    if let space { members.append(.init("space_grace_seconds", .number(space))) }
    if let inodes { members.append(.init("inodes_grace_seconds", .number(inodes))) }
    Output.write(.object(types.map { .init($0.word, .object(members)) }))
  }
}
