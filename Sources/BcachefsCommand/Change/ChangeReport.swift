// SPDX-License-Identifier: GPL-2.0
// What a command did to which of the paths it was given: for people, for JSON, for the exit code.
//
// Invariants
//   (1) Every failure is told on standard error, by path, when it happens; what is kept for the end
//       is bounded.
// Locks: `state`, a leaf.

internal import Bcachefs
internal import BcachefsFormat
internal import Synchronization

/// Takes note of what was done and what was not; any thread may.
final class ChangeReport: Sendable {
  private static let keptMax = 10_000

  private struct State {
    var done: UInt64 = 0
    var failures: UInt64 = 0
    var first: CommandFailure?
    var kept: [JSONValue] = []
  }

  private let command: String
  private let state = Mutex(State())

  init(_ command: String) { self.command = command }

  /// Something was done.
  func addDone(_ count: UInt64 = 1) { state.withLock { $0.done += count } }

  /// Something was not.
  func add(_ path: [UInt8], _ failure: CommandFailure) {
    Output.remark(command, failure.message)
    state.withLock { state in
      state.failures += 1
      if state.first == nil { state.first = failure }
      guard state.kept.count < Self.keptMax else { return }
      state.kept.append(
        .object(
          NameText.members("path", path) + [.init("problem", .string(failure.message))]))
    }
  }

  /// Something was not, for what the volume says.
  func add(_ path: [UInt8], _ error: VolumeError) { add(path, CommandFailure(error, at: path)) }

  /// How many things were not done.
  var failureCount: UInt64 { state.withLock { $0.failures } }

  /// Does something with each path. What fails is noted, and the next one's turn comes; an
  /// interruption ends it between two of them.
  func forEach(
    _ paths: some Collection<String>, _ body: (String) throws(CommandFailure) -> Void
  ) throws(CommandFailure) {
    for path in paths {
      try Self.checkInterruption()
      do throws(CommandFailure) {
        try body(path)
      } catch {
        if Interruption.isAsked { throw error }
        add(Array(path.utf8), error)
      }
    }
  }

  /// Ends the command if somebody asked for that.
  static func checkInterruption() throws(CommandFailure) {
    if Interruption.isAsked { throw interrupted }
  }

  static var interrupted: CommandFailure { CommandFailure(.temporary, "interrupted") }

  /// Prints JSON if it is wanted; ends the command with an exit code that says so if something was
  /// not done.
  func finish(
    _ arguments: ParsedArguments, _ members: [JSONValue.Member] = []
  ) throws(CommandFailure) {
    let (done, count, first, kept) = state.withLock {
      ($0.done, $0.failures, $0.first, $0.kept)
    }
    if arguments.contains("json") {
      Output.write(
        .object(
          [.init("done", .integer(done))] + members + [
            .init("failed", .integer(count)), .init("failures", .array(kept)),
          ]))
    }
    guard let first else { return }
    throw CommandFailure(
      first.status, count == 1 ? "one thing was not done" : "\(count) things were not done",
      advice: first.advice)
  }
}
