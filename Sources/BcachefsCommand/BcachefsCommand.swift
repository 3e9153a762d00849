// SPDX-License-Identifier: GPL-2.0
internal import ArgumentParser

@main
struct BcachefsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bcachefs", abstract: "Makes, reads and checks bcachefs volumes in user space.",
    subcommands: [ImageCommand.self, ScratchCommand.self])
}
