// SPDX-License-Identifier: GPL-2.0

internal import Foundation

/// The path of an executable of this package, as it was built beside the tests.
public func builtProgram(_ name: String) -> String {
  let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
  let beside = tests.appendingPathComponent(name).path
  return fileExists(beside) ? beside : "\(repositoryRoot)/.build/debug/\(name)"
}
