// SPDX-License-Identifier: GPL-2.0
// What a command could not read and went on past: named as it happens, counted for the end.
//
// Invariants
//   (1) Every loss is told on standard error; what is kept for the end is bounded.
// Locks: `state`, a leaf.

internal import Bcachefs
internal import BcachefsFormat
internal import Synchronization

/// Takes note of damage; any thread may.
final class DamageReport: Sendable {
  private static let keptMax = 10_000

  private struct State {
    var kept: [JSONValue] = []
    var count = 0
  }

  private let command: String
  private let isSilent: Bool
  private let state = Mutex(State())

  /// - Parameter isSilent: Only counts and keeps.
  init(command: String, isSilent: Bool = false) {
    self.command = command
    self.isSilent = isSilent
  }

  /// Says something on standard error that is no damage.
  func remark(_ text: String) {
    if !isSilent { Output.remark(command, text) }
  }

  /// How many files and directories have lost something.
  var count: Int { state.withLock { $0.count } }

  /// Something of a file, or a directory's names, cannot be read.
  func add(_ path: [UInt8], _ problem: String) {
    remark("\(Self.shown(path)): \(problem)")
    keep(path, problem, [])
  }

  /// Ranges of a file's contents are lost.
  func add(_ path: [UInt8], _ losses: FileLosses, size: UInt64) {
    guard let reason = losses.reason else { return }
    for range in losses.ranges {
      remark(
        "\(Self.shown(path)): bytes \(range.lowerBound)-\(range.upperBound - 1) of \(size) are "
          + "lost, zeros stand for them")
    }
    if losses.isCut { remark("\(Self.shown(path)): ... and more") }
    remark("\(Self.shown(path)): \(reason)")
    keep(path, reason, losses.ranges)
  }

  private func keep(_ path: [UInt8], _ problem: String, _ ranges: [Range<UInt64>]) {
    state.withLock { state in
      state.count += 1
      guard state.kept.count < Self.keptMax else { return }
      var members = NameText.members("path", path)
      members.append(.init("problem", .string(problem)))
      let lost = ranges.map { range in
        JSONValue.object([
          .init("start", .integer(range.lowerBound)), .init("end", .integer(range.upperBound)),
        ])
      }
      members.append(.init("lost", .array(lost)))
      state.kept.append(.object(members))
    }
  }

  private static func shown(_ path: [UInt8]) -> String {
    path.isEmpty ? "." : SafeText.text(path)
  }

  /// What was lost, by file.
  var json: JSONValue { .array(state.withLock { $0.kept }) }

  /// Ends the command with an exit code that says so, if anything was lost.
  func finish() throws(CommandFailure) {
    let count = self.count
    guard count > 0 else { return }
    throw CommandFailure(
      .badData,
      "\(count) \(count == 1 ? "file or directory is" : "files and directories are") damaged; "
        + "everything else was read")
  }
}

/// The ranges that one file has lost. It belongs to one thread.
final class FileLosses {
  private static let rangesMax = 1000

  /// Ascending as they are found; those that touch are one.
  private(set) var ranges: [Range<UInt64>] = []
  /// Why the first of them is lost.
  private(set) var reason: String?
  /// Whether there are more than are kept.
  private(set) var isCut = false

  func add(_ range: Range<UInt64>, _ error: VolumeError) {
    if reason == nil { reason = error.description }
    if let last = ranges.last, last.upperBound == range.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
    } else if ranges.count < Self.rangesMax {
      ranges.append(range)
    } else {
      isCut = true
    }
  }
}
