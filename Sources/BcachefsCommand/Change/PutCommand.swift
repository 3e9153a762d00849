// SPDX-License-Identifier: GPL-2.0
// bcachefs put: files and trees of the host into a volume.
//
// How it works
//   1. A file is made without a name, filled, and then gets its name, from what had it before, in
//      one transaction.
//   2. A tree grows in a hidden directory, and gets its name when it is whole; where DEST has a
//      directory of that name already, what is in the tree goes there name by name (TreeMerge).
// Invariants
//   (1) Each SOURCE is done or, but for a tree that is merged, has changed nothing.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

enum PutCommand {
  static let spec = CommandSpec(
    name: "put",
    summary: "copy files and directories into a volume",
    synopsis: "[OPTION...] VOLUME SOURCE... DEST",
    text: [
      "Copies each file or directory SOURCE of this machine to DEST in the volume, or into DEST if "
        + "that is a directory. Contents with their holes, modes, owners, times of access and "
        + "modification to the nanosecond, hard links, symbolic links, device nodes, extended "
        + "attributes and ACLs are kept. \"DIR/.\" stands for what is in DIR. A SOURCE \"-\" is "
        + "standard input, which becomes the file DEST.",
      "A file appears whole or not at all, in place of what has its name; so does a directory "
        + "that is not there yet. Where DEST has a directory of that name, what is in SOURCE goes "
        + "into it name by name, once all of it is in the volume; what cannot be put in place is "
        + "named. A run that is killed may leave a directory .bcachefs-unfinished-... beside "
        + "DEST: rm -r removes it.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("workers", .required(hint: "N"), help: "copy N files at a time (default: 4)"),
          OptionSpec("quiet", short: "q", help: "no progress on the terminal"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs put volume.img notes.txt home/me", text: "One file:"),
      CommandExample(line: "bcachefs put /dev/sdb photos /", text: "A directory:"),
      CommandExample(
        line: "pg_dump db | bcachefs put volume.img - backup/db.sql", text: "What a program says:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 3, let destination = arguments.operands.last else {
      throw .usage("name a volume, what to copy, and where to", command: spec.name)
    }
    let workers = try Workers.count(arguments)
    let umask = Caller.umask
    let sources = arguments.operands.dropFirst().dropLast()
    let report = ChangeReport(spec.name)
    let progress = TransferProgress(isWanted: !arguments.contains("quiet"))
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      if sources.count > 1, try volume.fileIfPresent(destination)?.kind != .directory {
        throw CommandFailure(VolumeError(.notADirectory), at: Array(destination.utf8))
      }
      let put = SourcePut(
        volume: volume, report: report, progress: progress, workers: workers, umask: umask)
      try report.forEach(sources) { (source) throws(CommandFailure) in
        try put.run(source, to: destination)
      }
      progress.finish()
    }
    progress.finish()
    try report.finish(arguments, progress.members.filter { $0.name != "skipped" })
  }
}

enum Workers {
  /// How many threads copy.
  static func count(_ arguments: ParsedArguments) throws(CommandFailure) -> Int {
    guard let text = arguments.value(of: "workers") else { return 4 }
    guard let number = Int(text), 1...256 ~= number else {
      throw .usage(
        "--workers: \(text) is not a number from 1 to 256", command: arguments.command)
    }
    return number
  }
}

/// Copies one SOURCE after the other.
private final class SourcePut {
  private let volume: ChangedVolume
  private let report: ChangeReport
  private let progress: TransferProgress
  private let workers: Int
  private let umask: UInt16
  private let links = HostLinks()

  init(
    volume: ChangedVolume, report: ChangeReport, progress: TransferProgress, workers: Int,
    umask: UInt16
  ) {
    self.volume = volume
    self.report = report
    self.progress = progress
    self.workers = workers
    self.umask = umask
  }

  private var system: FileSystem { volume.system }

  func run(_ source: String, to destination: String) throws(CommandFailure) {
    if source == "-" { return try putInput(to: destination) }
    let (folder, name) = Self.split(source)
    let tree = try TreePut.reading { () throws(HostError) in try HostTree(folder) }
    let directory = try TreePut.reading { () throws(HostError) in
      try tree.directory(at: .root)
    }
    guard let name else { return try putContents(of: directory, of: tree, to: destination) }
    let stat = try TreePut.reading { () throws(HostError) in try directory.stat(of: name) }
    let place = try volume.target(destination, last: name)
    if stat.isDirectory {
      let below = try TreePut.reading { () throws(HostError) in
        try tree.directory(at: HostPath.root.appending(name))
      }
      return try putDirectory(below, of: tree, to: place)
    }
    let isLinked = try volume.naming(place.path) { () throws(VolumeError) in
      try links.link(stat, as: place.name, in: place.parent, of: system, replaces: true)
    }
    if !isLinked {
      let made = try FileCopyIn(system: system).copy(
        name, stat, from: directory, to: .replacing(place),
        buffer: HeapBuffer(byteCount: 1 << 20))
      links.note(stat, made.id)
      progress.finishFile(bytes: made.written, isSkipped: false)
    }
    report.addDone()
  }

  /// The folder of a path of the host and the name in it; no name for what ends in `.` or `..`,
  /// and for the root.
  private static func split(_ path: String) -> (folder: String, name: [UInt8]?) {
    var bytes = Array(path.utf8)
    let slash = UInt8(ascii: "/")
    while bytes.count > 1, bytes.last == slash { bytes.removeLast() }
    let start = bytes.lastIndex(of: slash).map { $0 + 1 } ?? 0
    let name = Array(bytes[start...])
    guard !name.isEmpty, !name.elementsEqual(".".utf8), !name.elementsEqual("..".utf8) else {
      return (path, nil)
    }
    guard start > 0 else { return (".", name) }
    return (String(decoding: bytes[..<max(start - 1, 1)], as: UTF8.self), name)
  }

  /// Standard input becomes a file.
  private func putInput(to destination: String) throws(CommandFailure) {
    let place = try volume.target(destination, last: nil)
    var creation = FileCreation(.regular, permissions: 0o666)
    creation.umask = umask
    (creation.uid, creation.gid) = (Caller.uid, Caller.gid)
    let id = try volume.naming(place.path) { () throws(VolumeError) in
      try system.createUnnamed(in: place.parent, creation).id
    }
    let input = ByteInput()
    let buffer = HeapBuffer(byteCount: 1 << 20)
    var offset: UInt64 = 0
    do throws(CommandFailure) {
      while true {
        try ChangeReport.checkInterruption()
        let count = try input.read(into: buffer)
        guard count > 0 else { break }
        try volume.naming(place.path) { () throws(VolumeError) in
          try system.write(id, buffer.bytes.extracting(0..<count), at: offset)
        }
        offset += UInt64(count)
      }
      try volume.naming(place.path) { () throws(VolumeError) in try system.writeOut(id) }
    } catch {
      try volume.naming(place.path) { () throws(VolumeError) in try system.letGo(id) }
      throw error
    }
    try volume.naming(place.path) { () throws(VolumeError) in
      try system.giveName(place.name, in: place.parent, to: id, replaces: true)
    }
    progress.finishFile(bytes: offset, isSkipped: false)
    report.addDone()
  }

  // MARK: - Trees

  private func putDirectory(
    _ source: HostDirectory, of tree: HostTree, to place: VolumePlace
  ) throws(CommandFailure) {
    let existing = try volume.naming(place.path) {
      () throws(VolumeError) -> FileAttributes? in
      do throws(VolumeError) {
        return try system.lookup(place.name, in: place.parent)
      } catch {
        guard error.code == .notFound else { throw error }
        return nil
      }
    }
    guard let existing else {
      return try grow(source, of: tree, in: place.parent, place.path) {
        (hidden) throws(CommandFailure) in
        try volume.naming(place.path) { () throws(VolumeError) in
          try hidden.publish(as: place.name)
        }
        return false
      }
    }
    guard existing.kind == .directory else {
      throw CommandFailure(VolumeError(.exists, "there is a file of that name"), at: place.path)
    }
    try merge(source, of: tree, into: existing.id, place.path)
  }

  /// What is in a directory of the host goes to `destination` itself.
  private func putContents(
    of source: HostDirectory, of tree: HostTree, to destination: String
  ) throws(CommandFailure) {
    if let existing = try volume.fileIfPresent(destination), existing.kind == .directory {
      return try merge(source, of: tree, into: existing.id, Array(destination.utf8))
    }
    try putDirectory(source, of: tree, to: try volume.place(destination))
  }

  private func merge(
    _ source: HostDirectory, of tree: HostTree, into target: FileID, _ path: [UInt8]
  ) throws(CommandFailure) {
    try grow(source, of: tree, in: target, path) { (hidden) throws(CommandFailure) in
      let attributes = try volume.naming(path) { () throws(VolumeError) in
        try NewAttributes(system.attributes(of: hidden.id), of: system)
      }
      try TreeMerge(system: system, report: report).run(
        from: hidden.id, to: target, path: path, attributes: attributes)
      return true
    }
  }

  /// Copies a tree into a hidden directory, and lets `publish` put it in place.
  ///
  /// - Parameter publish: Returns whether the hidden directory is still there.
  private func grow(
    _ source: HostDirectory, of tree: HostTree, in parent: FileID, _ path: [UInt8],
    _ publish: (HiddenDirectory) throws(CommandFailure) -> Bool
  ) throws(CommandFailure) {
    let hidden = try volume.naming(path) { () throws(VolumeError) in
      try HiddenDirectory(in: parent, of: system)
    }
    do throws(CommandFailure) {
      try TreePut(system, links: links, progress: progress, workers: workers).run(
        from: source, of: tree, to: hidden.id)
      if try publish(hidden) { try hidden.remove() }
    } catch {
      progress.finish()
      do throws(CommandFailure) { try hidden.remove() } catch {
        Output.remark(PutCommand.spec.name, error.message)
      }
      throw error
    }
    report.addDone()
  }
}
