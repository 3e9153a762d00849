// SPDX-License-Identifier: GPL-2.0
// The volume that a command changes: opened for it alone, and closed whatever happens.
//
// Invariants
//   (1) A command that succeeds has everything on the devices: closing makes it durable, and a
//       failure to close is the command's.
//   (2) A volume that was opened is closed, so that a command that failed leaves a clean volume
//       too.

internal import Bcachefs
internal import BcachefsFormat

/// An open volume with the names of files in it.
struct ChangedVolume {
  let system: FileSystem

  static let text =
    "VOLUME is named as for mount: DEV[:DEV...] for devices and image files, UUID=... or "
    + "LABEL=.... Nobody else may have it mounted or open meanwhile. What was done is on the "
    + "devices when the command ends."

  /// What every command takes that changes a volume.
  static let options = VolumeOperand.options

  /// Opens the volume that the first operand names, calls `body`, and closes it.
  static func with(
    _ arguments: ParsedArguments, _ body: (ChangedVolume) throws(CommandFailure) -> Void
  ) throws(CommandFailure) {
    let volume = ChangedVolume(system: try open(arguments))
    for warning in volume.system.warnings { Output.remark(arguments.command, warning) }
    Interruption.listen()
    var failure: CommandFailure?
    do throws(CommandFailure) { try body(volume) } catch { failure = error }
    do throws(VolumeError) {
      try volume.system.close()
    } catch {
      let notClosed = CommandFailure(error)
      let text = "the volume could not be closed and is as after a crash: \(notClosed.message)"
      guard failure == nil else {
        Output.remark(arguments.command, text)
        throw failure ?? notClosed
      }
      throw CommandFailure(notClosed.status, text)
    }
    if let failure { throw failure }
  }

  private static func open(_ arguments: ParsedArguments) throws(CommandFailure) -> FileSystem {
    var settings = FileSystemOptions(seed: UInt64.random(in: .min ... .max))
    if arguments.contains("degraded") { settings.volume[.degraded] = 1 }
    if arguments.contains("very_degraded") { settings.volume[.veryDegraded] = 1 }
    settings.unlock = VolumeOperand.unlockSource(arguments)
    let command = arguments.command
    settings.onDamage = { Output.remark(command, "bad copy: \($0)") }
    let name = arguments.operands.first ?? ""
    return try VolumeOperand.reading { () throws(VolumeError) in
      try FileSystem.open(VolumeSources(parsing: name), settings)
    }
  }

  // MARK: - Paths

  /// The file of a path.
  func file(_ path: String, followsLast: Bool = true) throws(CommandFailure) -> FileAttributes {
    try naming(Array(path.utf8)) { () throws(VolumeError) in
      try system.resolve(path, followsLast: followsLast)
    }
  }

  /// The same; nil where there is none.
  func fileIfPresent(
    _ path: String, followsLast: Bool = true
  ) throws(CommandFailure) -> FileAttributes? {
    try naming(Array(path.utf8)) { () throws(VolumeError) in
      do throws(VolumeError) {
        return try system.resolve(path, followsLast: followsLast)
      } catch {
        guard error.code == .notFound else { throw error }
        return nil
      }
    }
  }

  /// The directory that a path's last name is in, and that name.
  ///
  /// - Throws: where the path ends in `.` or `..`, or names the root.
  func place(_ path: String) throws(CommandFailure) -> VolumePlace {
    let slash = UInt8(ascii: "/")
    let names = Array(path.utf8).split(separator: slash)
    guard let last = names.last, !last.elementsEqual(".".utf8), !last.elementsEqual("..".utf8)
    else {
      throw CommandFailure(.usage, "\(SafeText.text(path.utf8)): that is not the name of a file")
    }
    let above = Array(names.dropLast().joined(separator: [slash]))
    let parent = try naming(above) { () throws(VolumeError) in
      try system.resolve(above)
    }
    guard parent.kind == .directory else {
      throw CommandFailure(VolumeError(.notADirectory), at: above)
    }
    return VolumePlace(parent: parent.id, name: Array(last), path: Array(path.utf8))
  }

  /// Where something of a name goes that is to be made as, or in, `destination`: as the commands
  /// cp, mv and ln have it.
  ///
  /// - Parameter last: The name that it has in a directory; nil for what has none.
  func target(
    _ destination: String, last: [UInt8]?, mayBeDirectory: Bool = true
  ) throws(CommandFailure) -> VolumePlace {
    guard mayBeDirectory, let found = try fileIfPresent(destination), found.kind == .directory
    else { return try place(destination) }
    guard let last else {
      throw CommandFailure(VolumeError(.isADirectory), at: Array(destination.utf8))
    }
    let folder = destination.hasSuffix("/") ? destination : "\(destination)/"
    return VolumePlace(parent: found.id, name: last, path: Array(folder.utf8) + last)
  }

  /// The last name of a path.
  static func lastName(_ path: String) -> [UInt8] {
    path.utf8.split(separator: UInt8(ascii: "/")).last.map(Array.init) ?? []
  }

  /// Runs `body`; what fails is said of a path.
  func naming<Result>(
    _ path: [UInt8], _ body: () throws(VolumeError) -> Result
  ) throws(CommandFailure) -> Result {
    do throws(VolumeError) {
      return try body()
    } catch {
      throw CommandFailure(error, at: path)
    }
  }
}

/// A name in a directory of the volume, and how it was given.
struct VolumePlace {
  let parent: FileID
  let name: [UInt8]
  /// For messages.
  let path: [UInt8]
}

extension CommandFailure {
  /// What could not be done to a file of a volume.
  init(_ error: VolumeError, at path: [UInt8]) {
    let failure = CommandFailure(error)
    let shown = path.isEmpty ? "/" : SafeText.text(path)
    self.init(failure.status, "\(shown): \(error.sentence)", advice: failure.advice)
  }
}

extension VolumeError {
  /// The text of an error that has one, else what its code means for a file.
  var sentence: String {
    let text = description
    guard text == "\(code)" else { return text }
    return switch code {
    case .notFound: "no such file or directory"
    case .notADirectory: "not a directory"
    case .isADirectory: "is a directory"
    case .wrongType: "not a file of the right kind"
    case .nameTooLong: "the name is too long"
    case .noSpace: "no space left on the volume"
    case .exists: "there is something of that name already"
    case .notEmpty: "the directory is not empty"
    case .crossSubvolume:
      "it would go to another subvolume, or to a directory with options of its own"
    case .loop: "a directory cannot be moved below itself"
    case .readOnly: "its subvolume is read-only"
    case .tooManyLinks: "it has as many names as can be counted"
    case .invalid: "that cannot be"
    case .noAttribute: "no such attribute"
    case .tooLarge: "the attribute is too large"
    case .fileTooLarge: "the file would be too large"
    case .accessDenied: "only a directory has a default ACL"
    case .notPermitted: "it is immutable, may only grow, or is a directory"
    case .quotaExceeded: "a quota would be exceeded"
    case .unsupported: "no volume can hold that"
    case .notAVolume, .foreignMember, .missingMembers, .splitBrain, .locked, .corrupt,
      .allCopiesBad, .device, .limit, .cancelled, .poisoned:
      text
    }
  }
}
