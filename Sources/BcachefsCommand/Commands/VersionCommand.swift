// SPDX-License-Identifier: GPL-2.0

internal import BcachefsFormat

enum VersionCommand {
  /// The program's.
  static let programVersion = "0.1.0"

  static let spec = CommandSpec(
    name: "version",
    summary: "print the versions of program and format",
    synopsis: "[--json]",
    text: [],
    groups: [
      OptionGroup(title: "Options", options: [OptionSpec("json", help: "print them as JSON")])
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.isEmpty else {
      throw .usage("takes no operands", command: spec.name)
    }
    let format = MetadataVersion.native
    guard arguments.contains("json") else {
      Output.write("bcachefs \(programVersion) (swift-bcachefs), format version \(format)\n")
      return
    }
    Output.write(
      .object([
        .init("program", .string("swift-bcachefs")),
        .init("version", .string(programVersion)),
        .init("format_version", .string(format.number)),
        .init("format_version_name", .string(format.name.map { "\($0)" } ?? "")),
        .init("format_version_oldest", .string(MetadataVersion.oldest.number)),
      ]))
  }
}
