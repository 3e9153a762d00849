// SPDX-License-Identifier: GPL-2.0
// bcachefs truncate: the size of files of a volume.

internal import Bcachefs
internal import BcachefsFormat

enum TruncateCommand {
  static let spec = CommandSpec(
    name: "truncate",
    summary: "set the size of files of a volume",
    synopsis: "-s SIZE [OPTION...] VOLUME PATH...",
    text: [
      "Cuts each file PATH off at SIZE, or makes it longer by a hole. A file that is not there is "
        + "made, empty but for a hole. Each file is one step.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "size", short: "s", .required(hint: "SIZE"),
            help: "the size in bytes, or with a unit; with + or - before it, by how much it changes"
          ),
          OptionSpec("no_create", short: "c", help: "make no files"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs truncate -s 0 volume.img var/log/messages", text: "Emptied:")
    ],
    run: run)

  private enum Size {
    case exactly(UInt64)
    case more(UInt64)
    case less(UInt64)

    init?(_ text: String) {
      let isRelative = text.hasPrefix("+") || text.hasPrefix("-")
      guard let number = HumanSize.parse(isRelative ? text.dropFirst() : text[...]),
        !isRelative || text.dropFirst().first?.isNumber == true
      else { return nil }
      self =
        !isRelative ? .exactly(number) : text.hasPrefix("+") ? .more(number) : .less(number)
    }

    func applied(to size: UInt64) -> UInt64 {
      switch self {
      case .exactly(let number): return number
      case .more(let number):
        let (sum, overflow) = size.addingReportingOverflow(number)
        return overflow ? .max : sum
      case .less(let number): return size - min(size, number)
      }
    }
  }

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 2 else {
      throw .usage("name a volume and the files", command: spec.name)
    }
    guard let text = arguments.value(of: "size") else {
      throw .usage("-s says the size", command: spec.name)
    }
    guard let size = Size(text) else {
      throw .usage("--size: \(text) is not a size", command: spec.name)
    }
    let umask = Caller.umask
    let report = ChangeReport(spec.name)
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      try report.forEach(arguments.operands.dropFirst()) { (path) throws(CommandFailure) in
        if let file = try volume.fileIfPresent(path) {
          try volume.naming(Array(path.utf8)) { () throws(VolumeError) in
            try volume.system.truncate(file.id, to: size.applied(to: file.byteCount))
          }
        } else if arguments.contains("no_create") {
          return
        } else {
          try make(path, size.applied(to: 0), umask, volume)
        }
        report.addDone()
      }
    }
    try report.finish(arguments)
  }

  private static func make(
    _ path: String, _ size: UInt64, _ umask: UInt16, _ volume: ChangedVolume
  ) throws(CommandFailure) {
    let place = try volume.place(path)
    var creation = FileCreation(.regular, permissions: 0o666)
    creation.umask = umask
    (creation.uid, creation.gid) = (Caller.uid, Caller.gid)
    let system = volume.system
    try volume.naming(place.path) { () throws(VolumeError) in
      let made = try system.createUnnamed(in: place.parent, creation)
      do throws(VolumeError) {
        if size > 0 { try system.truncate(made.id, to: size) }
      } catch {
        try system.letGo(made.id)
        throw error
      }
      try system.giveName(place.name, in: place.parent, to: made.id, replaces: false)
    }
  }
}
