// SPDX-License-Identifier: GPL-2.0
// bcachefs subvolume create, snapshot and delete: on a mount, ours or the kernel driver's, and on a
// volume without one.
//
// How it works
//   1. A first operand that is a file or block device, or begins with UUID= or LABEL=, is a volume:
//      it is opened for changes, and the paths are those within it. Everything else is a path in a
//      mount.
//   2. On the driver's mounts its own ioctls do it, on ours those of SubvolumeRequest.swift.
// Invariants
//   (1) A volume that is in use is refused by name, and so is what is not in a bcachefs mount.
// Source: bcachefs-tools (src/commands/subvolume.rs).

internal import Bcachefs
internal import BcachefsFUSE
internal import BcachefsFormat
internal import BcachefsIO

/// What the three commands say of their operands.
private let placeText = [
  "A PATH is in a mount of the volume: of bcachefs mount, or of the kernel's driver. With VOLUME "
    + "before it (DEV[:DEV...], an image file, UUID=..., LABEL=...) the volume is opened without a "
    + "mount, and PATH is what it is called in there, from the root on; that is refused while "
    + "somebody else uses the volume."
]

private let volumeOptions = [
  OptionGroup(title: "Options, with VOLUME", options: VolumeOperand.options)
]

enum SubvolumeCreateCommand {
  static let spec = CommandSpec(
    name: "subvolume create",
    summary: "make empty subvolumes",
    synopsis: "[OPTION...] [VOLUME] PATH...",
    text: ["Makes an empty subvolume of each name."] + placeText, groups: volumeOptions,
    examples: [
      CommandExample(line: "bcachefs subvolume create /mnt/home", text: "In a mount:"),
      CommandExample(
        line: "bcachefs subvolume create volume.img home", text: "In a volume without one:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    try forEachPath(arguments) { (path) throws(CommandFailure) in
      try SubvolumeTarget.inMount(path) { (directory) throws(HostError) in
        switch directory.kind {
        case .fuse: try SubvolumeTarget.ask(directory, .create, path)
        case .driver, .other:
          try directory.makeDriverSubvolume(
            path.whole, isSnapshot: false, of: nil, isReadOnly: false)
        }
      }
    } inVolume: { (path, files) throws(VolumeError) in
      _ = try files.createSubvolume(
        Array(path.name.utf8), in: SubvolumeTarget.directory(of: path, in: files),
        FileCreation(.directory, permissions: 0o755))
    }
  }
}

enum SubvolumeDeleteCommand {
  static let spec = CommandSpec(
    name: "subvolume delete",
    summary: "delete subvolumes and snapshots",
    synopsis: "[OPTION...] [VOLUME] PATH...",
    text: [
      "Deletes subvolumes and snapshots with all that is in them, but not those with subvolumes in "
        + "them. They are gone at once; their room comes free by and by, while the volume is "
        + "mounted, now or later."
    ] + placeText, groups: volumeOptions,
    examples: [
      CommandExample(line: "bcachefs subvolume delete /mnt/snap-monday", text: "In a mount:"),
      CommandExample(
        line: "bcachefs subvolume delete volume.img snap-monday", text: "In a volume without one:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    try forEachPath(arguments) { (path) throws(CommandFailure) in
      try SubvolumeTarget.inMount(path) { (directory) throws(HostError) in
        switch directory.kind {
        case .fuse: try SubvolumeTarget.ask(directory, .delete, path)
        case .driver, .other: try directory.deleteDriverSubvolume(path.whole)
        }
      }
    } inVolume: { (path, files) throws(VolumeError) in
      try files.deleteSubvolume(
        Array(path.name.utf8), in: SubvolumeTarget.directory(of: path, in: files))
      try files.cleanSnapshots()
    }
  }
}

/// Does something with each path of a command line.
private func forEachPath(
  _ arguments: ParsedArguments,
  inMount: (SubvolumePath) throws(CommandFailure) -> Void,
  inVolume: (SubvolumePath, FileSystem) throws(VolumeError) -> Void
) throws(CommandFailure) {
  var operands = arguments.operands
  let volume = operands.first.flatMap { SubvolumeTarget.isVolume($0) ? $0 : nil }
  if volume != nil { operands.removeFirst() }
  guard !operands.isEmpty else {
    throw .usage("name a subvolume", command: arguments.command)
  }
  var paths: [SubvolumePath] = []
  for operand in operands { paths.append(try SubvolumePath(operand, command: arguments.command)) }
  guard let volume else {
    for path in paths { try inMount(path) }
    return
  }
  try SubvolumeTarget.withVolume(volume, arguments) { (files) throws(VolumeError) in
    for path in paths { try inVolume(path, files) }
  }
}

enum SubvolumeSnapshotCommand {
  static let spec = CommandSpec(
    name: "subvolume snapshot",
    summary: "make a snapshot of a subvolume",
    synopsis: "[OPTION...] [SOURCE] DEST | VOLUME SOURCE DEST",
    text: [
      "Makes a snapshot of the subvolume SOURCE, or of the one that DEST is made in: it shows what "
        + "had been written to it by then. It takes no time and no room, whatever the size; what "
        + "is changed later, in one of both, takes room then."
    ] + placeText,
    groups: [
      OptionGroup(
        title: "Options",
        options: [OptionSpec("read_only", short: "r", help: "nobody can change the snapshot")])
    ] + volumeOptions,
    examples: [
      CommandExample(
        line: "bcachefs subvolume snapshot -r /mnt/home /mnt/home-monday", text: "In a mount:"),
      CommandExample(
        line: "bcachefs subvolume snapshot volume.img / before-upgrade",
        text: "Of the first subvolume of a volume without one:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    let operands = arguments.operands
    let isReadOnly = arguments.contains("read_only")
    if operands.count == 3, SubvolumeTarget.isVolume(operands[0]) {
      let path = try SubvolumePath(operands[2], command: arguments.command)
      return try SubvolumeTarget.withVolume(operands[0], arguments) { (files) throws(VolumeError) in
        let source = try files.resolve(operands[1]).id
        let root = try files.root(ofSubvolume: source.subvolume)
        guard source == root else {
          throw VolumeError(.invalid, "\(operands[1]) is not a subvolume")
        }
        _ = try files.createSnapshot(
          of: source.subvolume, as: Array(path.name.utf8),
          in: SubvolumeTarget.directory(of: path, in: files), isReadOnly: isReadOnly)
      }
    }
    guard let last = operands.last, operands.count <= 2 else {
      throw .usage("name the snapshot, and what it is to be of", command: arguments.command)
    }
    let path = try SubvolumePath(last, command: arguments.command)
    let source = operands.count == 2 ? operands[0] : nil
    try SubvolumeTarget.inMount(path) { (directory) throws(HostError) in
      guard directory.kind == .fuse else {
        return try directory.makeDriverSubvolume(
          path.whole, isSnapshot: true, of: source, isReadOnly: isReadOnly)
      }
      directory.synchronise()
      let number: UInt32
      if let source {
        number = try SubvolumeTarget.source(source, besides: directory)
      } else {
        number = try SubvolumeTarget.subvolume(of: directory)?.subvolume ?? 0
      }
      try SubvolumeTarget.ask(
        directory, isReadOnly ? .readOnlySnapshot : .snapshot, path, source: number)
    }
  }
}
