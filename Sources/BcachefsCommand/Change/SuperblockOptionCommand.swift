// SPDX-License-Identifier: GPL-2.0
// bcachefs set-fs-option: options that the superblock keeps.

internal import Bcachefs
internal import BcachefsFormat

enum SuperblockOptionCommand {
  /// Those that the superblock keeps and that a mount may change, and those of a device.
  private static let rows = VolumeOption.allCases.filter { $0.isSettable }

  static let spec = CommandSpec(
    name: "set-fs-option",
    summary: "set options of a volume in its superblock",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Sets options that are in force whenever the volume is mounted, unless the mount says "
        + "otherwise: all of them in one write, or none. What only format can choose cannot be "
        + "set. How data is stored that is there already does not change by it.",
      "Options of a device need --dev-idx.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options of the volume and its devices", options: rows.map(FormatOptionSpecs.spec)),
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "dev_idx", short: "d", .required(hint: "INDEX"),
            help: "the device that options of devices are for; may be repeated"),
          VolumeOperand.json,
        ] + ChangedVolume.options),
    ],
    examples: [
      CommandExample(
        line: "bcachefs set-fs-option --compression=zstd --data_replicas=2 /dev/sdb:/dev/sdc",
        text: "For what is written from now on:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    var values: [(option: VolumeOption, value: String?)] = []
    for case .option(let option, let value) in arguments.parts {
      if let row = option.row { values.append((row, value)) }
    }
    guard arguments.operands.count == 1, !values.isEmpty else {
      throw .usage("name options and one volume", command: spec.name)
    }
    var devices: [Int] = []
    for text in arguments.values(of: "dev_idx") {
      guard let index = UInt8(text) else {
        throw .usage("--dev-idx: \(text) is not an index of a device", command: spec.name)
      }
      devices.append(Int(index))
    }
    if let option = values.first(where: { $0.option.isOfDevice })?.option, devices.isEmpty {
      throw .usage(
        "\(option.name) is an option of a device: --dev-idx says of which", command: spec.name)
    }
    var settings = VolumeOptions()
    if arguments.contains("degraded") { settings[.degraded] = 1 }
    if arguments.contains("very_degraded") { settings[.veryDegraded] = 1 }
    let changed = try VolumeOperand.reading { () throws(VolumeError) in
      try VolumeSettings.set(
        values, devices: devices, of: VolumeSources(parsing: arguments.operands[0]),
        options: settings, unlock: VolumeOperand.unlockSource(arguments),
        seed: UInt64.random(in: .min ... .max))
    }
    guard arguments.contains("json") else { return }
    Output.write(
      .object(
        changed.map { JSONValue.Member($0.option.name, .string($0.text)) }))
  }
}
