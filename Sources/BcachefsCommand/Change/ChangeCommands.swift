// SPDX-License-Identifier: GPL-2.0

/// The commands that change volumes which nobody has mounted.
enum ChangeCommands {
  /// Of files and directories.
  static let files: [CommandSpec] = [
    PutCommand.spec, ImportCommand.spec, MakeDirectoryCommand.spec, RemoveCommand.spec,
    MoveCommand.spec, LinkCommand.spec, TruncateCommand.spec,
  ]

  /// Of their attributes, and of the volume's options.
  static let attributes: [CommandSpec] = [
    ModeCommand.spec, OwnerCommand.spec, XattrCommand.spec, FileOptionCommand.spec,
    FileOptionCommand.otherName, SuperblockOptionCommand.spec,
  ]
}
