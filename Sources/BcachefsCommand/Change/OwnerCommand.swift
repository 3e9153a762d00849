// SPDX-License-Identifier: GPL-2.0
// bcachefs chown: owners and groups of files of a volume.

internal import Bcachefs
internal import BcachefsFormat

enum OwnerCommand {
  static let spec = CommandSpec(
    name: "chown",
    summary: "change owner and group of files of a volume",
    synopsis: "[OPTION...] OWNER[:GROUP] VOLUME PATH...",
    text: [
      "Gives each PATH to OWNER, GROUP or both: numbers, or names of this machine. \"OWNER:\" "
        + "stands for the owner's main group too, \":GROUP\" changes the group only. As chown(2) "
        + "does, it takes the set-user-ID and set-group-ID bits from programs.",
      "A symbolic link is followed, but with -h or -R. Each file is one step; with -R those below "
        + "a directory come one after the other.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("recursive", short: "R", help: "change what is below directories, too"),
          OptionSpec(
            "no_dereference", short: "h", help: "change symbolic links, not what they lead to"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(line: "bcachefs chown -R 1000:1000 volume.img home/me", text: "A tree:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 3 else {
      throw .usage("name the owner, a volume and the files", command: spec.name)
    }
    let (uid, gid) = try owner(arguments.operands[0])
    let report = ChangeReport(spec.name)
    let rest = arguments.withoutFirstOperand
    let isRecursive = arguments.contains("recursive")
    try ChangedVolume.with(rest) { (volume) throws(CommandFailure) in
      try AttributeChanger(volume: volume, report: report).run(
        rest, followsLinks: !isRecursive && !arguments.contains("no_dereference"),
        isRecursive: isRecursive
      ) { (attributes) in
        var wanted = AttributeChange()
        (wanted.uid, wanted.gid) = (uid, gid)
        let mode = attributes.mode & 0o7777
        let special: UInt16 = mode & 0o10 != 0 ? 0o6000 : 0o4000
        if attributes.kind == .regular, mode & special != 0 { wanted.permissions = mode & ~special }
        return wanted
      }
    }
    try report.finish(arguments)
  }

  private static func owner(
    _ text: String
  ) throws(CommandFailure) -> (uid: UInt32?, gid: UInt32?) {
    let fields = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let user = String(fields.first ?? "")
    var uid: UInt32?
    if !user.isEmpty {
      guard let found = Caller.userID(user) else {
        throw CommandFailure(.noInput, "there is no user \(user) on this machine")
      }
      uid = found
    }
    guard fields.count == 2 else {
      guard uid != nil else { throw .usage("name an owner or a group", command: spec.name) }
      return (uid, nil)
    }
    let group = String(fields[1])
    guard group.isEmpty else {
      guard let gid = Caller.groupID(group) else {
        throw CommandFailure(.noInput, "there is no group \(group) on this machine")
      }
      return (uid, gid)
    }
    guard let uid else { return (nil, nil) }
    guard let gid = Caller.mainGroupID(ofUser: uid) else {
      throw CommandFailure(.noInput, "user \(uid) has no main group on this machine")
    }
    return (uid, gid)
  }
}
