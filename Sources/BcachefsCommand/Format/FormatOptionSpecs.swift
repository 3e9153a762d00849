// SPDX-License-Identifier: GPL-2.0
// The options of format and image create, most of them rows of the option table.

internal import BcachefsFormat

enum FormatOptionSpecs {
  /// Rows that a new volume takes, as the volume's.
  static let table: [OptionSpec] = VolumeOption.allCases
    .filter { $0.flags.contains(.format) && !$0.flags.contains(.hidden) }
    .map { spec($0) }

  /// Rows that apply to the devices that follow.
  static let deviceTable: [OptionSpec] = VolumeOption.allCases
    .filter { $0.flags.contains(.device) && !$0.flags.contains(.hidden) }
    .map { row in
      var spec = spec(row)
      if row == .bucket { spec.aliases = ["bucket_size"] }
      return spec
    }

  /// A row as an option of a command.
  static func spec(_ row: VolumeOption) -> OptionSpec {
    let value: OptionSpec.Value
    if case .bool = row.row.kind {
      value = .bool
    } else {
      value = .required(hint: hint(row))
    }
    return OptionSpec(
      row.name, value, choices: choices(row), help: help(row), row: row)
  }

  private static func hint(_ row: VolumeOption) -> String {
    if case .choice(let names) = row.row.kind {
      let list = names.map { "\($0)" }.joined(separator: "|")
      return list.count <= 24 ? list : "CHOICE"
    }
    guard let hint = row.row.hint else { return "VALUE" }
    return "\(hint)".uppercased()
  }

  private static func choices(_ row: VolumeOption) -> [String] {
    switch row.row.kind {
    case .choice(let names): names.map { "\($0)" }
    case .compression: ["none", "lz4", "gzip", "zstd"]
    default: []
    }
  }

  /// The table's sentence, with the default where that says something.
  private static func help(_ row: VolumeOption) -> String {
    let text = "\(row.row.help)"
    let sentence = (text.first?.lowercased() ?? "") + text.dropFirst()
    let kept = ["POSIX"].contains { text.hasPrefix($0) } ? text : sentence
    var notes: [String] = []
    if case .choice(let names) = row.row.kind, hint(row) == "CHOICE" {
      notes.append("one of " + names.map { "\($0)" }.joined(separator: ", "))
    }
    if !text.contains("default"), let value = defaultText(row) {
      notes.append("default: \(value)")
    }
    return notes.isEmpty ? kept : "\(kept) (\(notes.joined(separator: "; ")))"
  }

  private static func defaultText(_ row: VolumeOption) -> String? {
    // What a device that is not told otherwise gets, which is not the mount option's default.
    if row == .discard { return "no" }
    switch row.row.kind {
    case .target: return nil
    case .bool: return row.defaultValue == 0 ? "no" : "yes"
    case .integer where row.defaultValue == 0: return nil
    default: return row.text(row.defaultValue)
    }
  }

  // MARK: - Options of the commands

  static let volume: [OptionSpec] = [
    OptionSpec("replicas", .required(hint: "#"), help: "copies of both data and metadata"),
    OptionSpec(
      "encrypted",
      help: "encrypt everything (ChaCha20/Poly1305) under a key that a passphrase opens; the "
        + "passphrase is asked for on the terminal, twice, or is the first line of standard "
        + "input"),
    OptionSpec(
      "passphrase_file", .required(hint: "FILE"), isPath: true,
      help: "with --encrypted: the passphrase is this file's first line"),
    OptionSpec(
      "no_passphrase",
      help: "with --encrypted: store the key in the superblock in plain text, so that anybody who "
        + "has the device can read it"),
    OptionSpec(
      "fs_label", short: "L", .required(hint: "LABEL"), help: "name of the volume, up to 32 bytes"),
    OptionSpec(
      "uuid", short: "U", .required(hint: "UUID"), help: "UUID of the volume (default: random)"),
    OptionSpec(
      "superblock_size", .required(hint: "SIZE"),
      help: "room for each copy of the superblock (default: 1 MiB)"),
    OptionSpec(
      "version", .required(hint: "VERSION"),
      help: "format version to write; this program writes \(MetadataVersion.native.number) only"),
  ]

  static let device: [OptionSpec] =
    [
      OptionSpec(
        "label", short: "l", .required(hint: "LABEL"),
        help: "label of the device for targets; dots make groups, as in ssd.fast")
    ] + deviceTable

  static let source = OptionSpec(
    "source", .required(hint: "DIR"), isPath: true,
    help: "fill the volume with this directory's contents")

  static let building: [OptionSpec] = [
    OptionSpec(
      "workers", .required(hint: "N"),
      help: "threads that read and encode (default: one a core); the result does not depend on it"),
    OptionSpec(
      "master_key_file", .required(hint: "FILE"), isPath: true,
      help: "with --encrypted: the volume's own key, 32 bytes, so that a build can be repeated; "
        + "without it the key is random, whatever else is given"),
  ]

  static let talking: [OptionSpec] = [
    OptionSpec("quiet", short: "q", help: "print errors only"),
    OptionSpec("verbose", short: "v", help: "say more of what is done"),
    OptionSpec("json", help: "print the result as JSON"),
  ]
}
