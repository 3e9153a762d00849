// SPDX-License-Identifier: GPL-2.0
// How far a copy is: counters that all workers add to, and a line on the terminal.
//
// Locks: `line` is only taken without waiting: a worker never waits for the terminal.

internal import BcachefsFormat
internal import BcachefsIO
internal import Synchronization

final class TransferProgress: Sendable {
  let files = Atomic<UInt64>(0)
  let skipped = Atomic<UInt64>(0)
  let bytes = Atomic<UInt64>(0)
  private let isShown: Bool
  private let start = ContinuousClock.now
  private let line = Mutex<(drawn: ContinuousClock.Instant?, columns: Int)>((nil, 0))

  /// - Parameter isWanted: Nothing appears where standard error is no terminal, whatever this says.
  init(isWanted: Bool) { isShown = isWanted && Terminal.errorIsTerminal }

  /// A file is done.
  func finishFile(bytes count: UInt64, isSkipped: Bool) {
    files.add(1, ordering: .relaxed)
    if isSkipped { skipped.add(1, ordering: .relaxed) }
    bytes.add(count, ordering: .relaxed)
    guard isShown else { return }
    _ = line.withLockIfAvailable { line in
      let now = ContinuousClock.now
      if let drawn = line.drawn, now - drawn < .milliseconds(100) { return }
      line.drawn = now
      let text = self.text(now)
      let padding = String(repeating: " ", count: max(line.columns - text.count, 0))
      Output.writeToError("\r\(text)\(padding)")
      line.columns = text.count
    }
  }

  private func text(_ now: ContinuousClock.Instant) -> String {
    let count = files.load(ordering: .relaxed)
    let total = bytes.load(ordering: .relaxed)
    let seconds = ProgressBar.seconds(now - start)
    let rate = seconds > 0.2 ? "  \(HumanSize.text(UInt64(Double(total) / seconds)))/s" : ""
    return "\(count) files  \(HumanSize.text(total))\(rate)"
  }

  /// Wipes the line.
  func finish() {
    line.withLock { line in
      guard line.columns > 0 else { return }
      Output.writeToError("\r" + String(repeating: " ", count: line.columns) + "\r")
      line.columns = 0
    }
  }

  var members: [JSONValue.Member] {
    [
      .init("files", .integer(files.load(ordering: .relaxed))),
      .init("skipped", .integer(skipped.load(ordering: .relaxed))),
      .init("bytes", .integer(bytes.load(ordering: .relaxed))),
    ]
  }
}

/// What the host refused. Any thread may add.
final class HostProblems: Sendable {
  private let command: String
  private let state = Mutex<(count: Int, first: HostError?, fatal: HostError?)>((0, nil, nil))

  init(command: String) { self.command = command }

  func add(_ error: HostError) {
    Output.remark(command, error.description)
    state.withLock { state in
      state.count += 1
      if state.first == nil { state.first = error }
      if error.endsEverything { state.fatal = error }
    }
  }

  var count: Int { state.withLock { $0.count } }

  /// What makes it senseless to go on: no space, a read-only or broken filesystem.
  var fatal: HostError? { state.withLock { $0.fatal } }

  /// Ends the command with an exit code that says so, if there were any.
  func finish() throws(CommandFailure) {
    let (count, first, _) = state.withLock { $0 }
    guard let first else { return }
    throw CommandFailure(
      CommandFailure(first).status,
      "\(count) \(count == 1 ? "thing" : "things") could not be made; everything else was copied")
  }
}
