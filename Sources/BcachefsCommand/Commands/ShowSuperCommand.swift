// SPDX-License-Identifier: GPL-2.0
// bcachefs show-super: what a device says of its volume. Nothing is written.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

enum ShowSuperCommand {
  static let spec = CommandSpec(
    name: "show-super",
    summary: "print a device's superblock",
    synopsis: "[OPTION...] DEVICE",
    text: [
      "Prints the superblock of a block device or image file, opened read-only. Where the main copy "
        + "is damaged a backup copy is shown, and standard error says what is wrong."
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "fields", short: "f", .required(hint: "LIST"), choices: ["all"] + sectionNames,
            help: "sections to print, separated by commas, or all: "
              + sectionNames.joined(separator: ", ") + " (default: members and errors)"),
          OptionSpec(
            "field_only", .required(hint: "SECTION"), choices: sectionNames,
            help: "print this section alone, without the header"),
          OptionSpec("layout", short: "l", help: "print where the copies are, too"),
          OptionSpec("json", help: "print everything as JSON"),
        ])
    ],
    examples: [
      CommandExample(line: "bcachefs show-super -l -f all /dev/sdb", text: "Everything:")
    ],
    run: run)

  private static var sectionNames: [String] { SuperblockSectionType.all.map(\.description) }

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard let path = arguments.operands.first else {
      throw .usage("name a device", command: spec.name)
    }
    guard arguments.operands.count == 1 else {
      throw .usage("one device at a time", command: spec.name)
    }
    let fields = try arguments.value(of: "fields").map(sections)
    let only = try arguments.value(of: "field_only").map { name throws(CommandFailure) in
      try section(name)
    }
    let device = try open(path)
    let found: FoundSuperblock
    do throws(NoSuperblock) {
      found = try FoundSuperblock(reading: device)
    } catch {
      throw CommandFailure(.badData, error.description)
    }
    let model = DeviceModel.text(path: path, isBlockDevice: device.isBlockDevice)
    remark(found, path)
    let style = SuperblockTextStyle(
      sections: fields ?? .usual, layout: arguments.contains("layout"),
      localOffset: { LocalTime.offset(at: $0) })
    if arguments.contains("json") {
      Output.write(found.superblock.json(sections: only.map { .only([$0]) } ?? fields ?? .all))
    } else if let only {
      Output.write(found.superblock.text(ofSection: only, style: style))
    } else {
      Output.write(found.superblock.text(device: model, style: style))
    }
  }

  private static func open(_ path: String) throws(CommandFailure) -> BlockDevice {
    do throws(DeviceError) {
      return try BlockDevice.open(path: path, mode: .readOnly)
    } catch {
      throw CommandFailure(error)
    }
  }

  private static func remark(_ found: FoundSuperblock, _ path: String) {
    if let problem = found.mainProblem {
      let how = found.place == .search ? "which a search found" : "which the layout names"
      Output.remark(spec.name, "\(path): the main superblock (sector 8) is bad: \(problem)")
      Output.remark(
        spec.name, "\(path): showing the backup copy at sector \(found.sector), \(how)")
    }
    if let doubt = found.doubt {
      Output.remark(
        spec.name, "\(path): this superblock is not valid, the kernel will refuse it: \(doubt)")
    }
  }

  private static func sections(
    _ list: String
  ) throws(CommandFailure) -> SuperblockTextStyle.Sections {
    if list == "all" { return .all }
    var types: [SuperblockSectionType] = []
    for name in list.split(separator: ",") { types.append(try section(String(name))) }
    return .only(types)
  }

  private static func section(_ name: String) throws(CommandFailure) -> SuperblockSectionType {
    guard let type = SuperblockSectionType(named: name) else {
      let near = Suggestion.nearest(to: name, among: sectionNames)
      throw .usage(
        "there is no section \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
        command: spec.name)
    }
    return type
  }
}

/// What a device calls itself, as upstream shows it.
enum DeviceModel {
  static func text(path: String, isBlockDevice: Bool) -> String {
    guard isBlockDevice else { return "(reg file)" }
    guard let real = unsafe realpath(path, nil) else { return "(unknown device)" }
    defer { unsafe free(real) }
    let name = unsafe String(cString: real).split(separator: "/").last.map(String.init) ?? ""
    // A partition's directory lies in its disk's.
    for folder in ["/sys/class/block/\(name)", "/sys/class/block/\(name)/.."] {
      if let bytes = try? SmallFile.read("\(folder)/device/model") {
        return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
      }
    }
    return "(unknown device)"
  }
}
