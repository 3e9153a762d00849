// SPDX-License-Identifier: GPL-2.0

/// The commands that read volumes without mounting them.
enum ReadCommands {
  static let all: [CommandSpec] = [
    ListFilesCommand.spec, StatCommand.spec, CatCommand.spec, TreeCommand.spec,
    DiskUsageCommand.spec, ExportCommand.spec, GetCommand.spec,
  ]

  /// The commands that look into volumes.
  static let inspection: [CommandSpec] = [
    UsageCommand.spec, SubvolumeListCommand.spec, SnapshotListCommand.spec, BTreeListCommand.spec,
    JournalListCommand.spec,
  ]
}
