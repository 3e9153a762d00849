// SPDX-License-Identifier: GPL-2.0
// bcachefs mkdir: directories in a volume.

internal import Bcachefs
internal import BcachefsFormat

enum MakeDirectoryCommand {
  static let spec = CommandSpec(
    name: "mkdir",
    summary: "make directories in a volume",
    synopsis: "[OPTION...] VOLUME PATH...",
    text: [
      "Makes each directory PATH, owned by who runs the command, in one step: with -p the whole "
        + "way to it appears at once, or nothing does. Where there are several, one that cannot "
        + "be made is named, and the others are made.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "parents", short: "p",
            help: "make the directories on the way, too; one that is there already is no error"),
          OptionSpec(
            "mode", short: "m", .required(hint: "MODE"),
            help: "permissions as for chmod, by which a umask does not count"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs mkdir -p volume.img home/me/new", text: "With the way to it:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 2 else {
      throw .usage("name a volume and the directories", command: spec.name)
    }
    let umask = Caller.umask
    var mode = 0o777 & ~umask
    if let text = arguments.value(of: "mode") {
      mode = try ModeChange(text, command: spec.name, umask: umask).applied(
        to: 0o777, isDirectory: true)
    }
    let report = ChangeReport(spec.name)
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      try report.forEach(arguments.operands.dropFirst()) { (path) throws(CommandFailure) in
        let maker = DirectoryMaker(volume: volume, mode: mode, umask: umask)
        if arguments.contains("parents") {
          report.addDone(try maker.makeWay(to: path))
        } else {
          try maker.make(path)
          report.addDone()
        }
      }
    }
    try report.finish(arguments)
  }
}

private struct DirectoryMaker {
  let volume: ChangedVolume
  let mode: UInt16
  let umask: UInt16

  private func creation(_ permissions: UInt16) -> FileCreation {
    var creation = FileCreation(.directory, permissions: permissions)
    (creation.uid, creation.gid) = (Caller.uid, Caller.gid)
    return creation
  }

  func make(_ path: String) throws(CommandFailure) {
    let place = try volume.place(path)
    try volume.naming(place.path) { () throws(VolumeError) in
      _ = try volume.system.create(place.name, in: place.parent, creation(mode))
    }
  }

  /// Makes a directory and those on the way to it that are not there.
  ///
  /// - Returns: how many.
  func makeWay(to path: String) throws(CommandFailure) -> UInt64 {
    let names = path.utf8.split(separator: UInt8(ascii: "/")).map(Array.init)
    guard !names.contains(where: { $0.elementsEqual("..".utf8) }) else {
      throw CommandFailure(.usage, "\(path): \"..\" cannot stand in it with --parents")
    }
    var missing = names.filter { !$0.elementsEqual(".".utf8) }
    var reached = volume.system.root
    return try volume.naming(Array(path.utf8)) { () throws(VolumeError) in
      var way: [UInt8] = []
      while let name = missing.first {
        way += name + [UInt8(ascii: "/")]
        do throws(VolumeError) {
          reached = try volume.system.resolve(way).id
        } catch {
          guard error.code == .notFound else { throw error }
          break
        }
        missing.removeFirst()
      }
      guard let first = missing.first else {
        guard try volume.system.attributes(of: reached).kind == .directory else {
          throw VolumeError(.exists)
        }
        return 0
      }
      guard missing.count > 1 else {
        _ = try volume.system.create(first, in: reached, creation(mode))
        return 1
      }
      try makeAtOnce(missing, in: reached)
      return UInt64(missing.count)
    }
  }

  /// Makes directories one in the other, under a name that nobody looks for until all are there.
  private func makeAtOnce(
    _ names: [[UInt8]], in parent: FileID
  ) throws(VolumeError) {
    let system = volume.system
    let hidden = try HiddenDirectory(in: parent, of: system)
    var failure: VolumeError?
    do throws(VolumeError) {
      var above = hidden.id
      for (index, name) in names.enumerated() {
        let permissions = index == names.count - 1 ? mode : 0o777 & ~umask
        above = try system.create(name, in: above, creation(permissions)).id
      }
      try hidden.publish(names[0], as: names[0])
    } catch {
      failure = error
    }
    do throws(CommandFailure) { try hidden.remove() } catch {
      throw failure ?? VolumeError(.corrupt, error.message)
    }
    if let failure { throw failure }
  }
}
