// SPDX-License-Identifier: GPL-2.0
// bcachefs chmod: permissions of files of a volume.

internal import Bcachefs
internal import BcachefsFormat

enum ModeCommand {
  static let spec = CommandSpec(
    name: "chmod",
    summary: "change permissions of files of a volume",
    synopsis: "[OPTION...] MODE VOLUME PATH...",
    text: [
      "Gives each PATH the permissions MODE: octal digits, or changes as of chmod(1): u, g, o or "
        + "a, then +, - or =, then r, w, x, X, s, t, or u, g or o for those of the owner, the "
        + "group or others; several with commas. An ACL follows. A symbolic link is followed.",
      "Each file is one step; with -R those below a directory come one after the other, and "
        + "symbolic links are left alone.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "recursive", short: "R", help: "change what is below directories, too"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs chmod -R u=rwX,go=rX volume.img srv/www", text: "A tree:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 3 else {
      throw .usage("name the permissions, a volume and the files", command: spec.name)
    }
    let change = try ModeChange(
      arguments.operands[0], command: spec.name, umask: Caller.umask)
    let report = ChangeReport(spec.name)
    let rest = arguments.withoutFirstOperand
    try ChangedVolume.with(rest) { (volume) throws(CommandFailure) in
      let files = AttributeChanger(volume: volume, report: report)
      try files.run(
        rest, followsLinks: true, isRecursive: arguments.contains("recursive")
      ) { (attributes) in
        guard attributes.kind != .symbolicLink else { return nil }
        var wanted = AttributeChange()
        wanted.permissions = change.applied(
          to: attributes.mode & 0o7777, isDirectory: attributes.kind == .directory)
        return wanted
      }
    }
    try report.finish(arguments)
  }
}

/// Changes attributes of files, and of those below them.
struct AttributeChanger {
  let volume: ChangedVolume
  let report: ChangeReport

  /// - Parameters:
  ///   - arguments: The volume, then the paths.
  ///   - change: What a file is to have; nil leaves it alone.
  func run(
    _ arguments: ParsedArguments, followsLinks: Bool, isRecursive: Bool,
    _ change: (FileAttributes) -> AttributeChange?
  ) throws(CommandFailure) {
    try report.forEach(arguments.operands.dropFirst()) { (path) throws(CommandFailure) in
      let top = try volume.file(path, followsLast: followsLinks)
      let bytes = Array(path.utf8)
      try apply(change, to: top, bytes)
      guard isRecursive, top.kind == .directory else { return }
      try SystemWalk(system: volume.system).run(below: top.id, path: bytes) {
        (entry) throws(CommandFailure) in
        do throws(CommandFailure) {
          let attributes = try volume.naming(entry.path) { () throws(VolumeError) in
            try volume.system.attributes(of: entry.id)
          }
          try apply(change, to: attributes, entry.path)
        } catch {
          report.add(entry.path, error)
        }
        return true
      }
    }
  }

  private func apply(
    _ change: (FileAttributes) -> AttributeChange?, to attributes: FileAttributes, _ path: [UInt8]
  ) throws(CommandFailure) {
    guard let wanted = change(attributes) else { return }
    try volume.naming(path) { () throws(VolumeError) in
      _ = try volume.system.change(attributes.id, wanted)
    }
    report.addDone()
  }
}
