// SPDX-License-Identifier: GPL-2.0

/// The commands that read volumes without mounting them.
enum ReadCommands {
  static let all: [CommandSpec] = [
    ListFilesCommand.spec, StatCommand.spec, CatCommand.spec, TreeCommand.spec,
    DiskUsageCommand.spec, ExportCommand.spec, GetCommand.spec,
  ]
}
