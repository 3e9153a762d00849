// SPDX-License-Identifier: GPL-2.0
// Running other programs from tests: spawn, capture, and an end even when they hang.
//
// How it works
//   1. The program is spawned with three files as its standard descriptors and no others, in a
//      process group of its own, with no signal blocked.
//   2. A thread of its own waits for its end; the caller waits for that thread, for a limited time.
// Invariants
//   (1) A program gets no descriptor of a test's: what goes on in the background when it has ended
//       (a mount) would hold it, and whoever waits for the other end would wait for the mount.
//       Foundation's Process waits for such an end in place of the program: beside mounts it waits
//       until they are unmounted, by tests that wait in turn.
//   (2) Nothing of a run stays open.
//   (3) No run lasts longer than its time and 20 seconds.
// Locks: `ProgramProcess.status`, a leaf.

internal import CTestSupport
internal import Dispatch
internal import Foundation
internal import Synchronization

/// What a program did.
public struct ProgramResult: Sendable {
  /// The exit code; 128 + the signal's number when a signal ended it, as in a shell.
  public let status: Int32
  public let standardOutput: [UInt8]
  public let standardError: String

  /// The standard output as text.
  public var text: String { String(decoding: standardOutput, as: UTF8.self) }
}

/// A program could not be started, or did not end in its time, or ended with an error.
public struct ProgramError: Error, CustomStringConvertible {
  public let description: String

  public init(description: String) { self.description = description }
}

/// Runs `program` and waits for it. Output goes through files, so no amount of it blocks.
///
/// - Parameters:
///   - program: A path, or a name that is looked up in `PATH`.
///   - environment: Added to this process's.
///   - input: Its standard input; nothing by default.
///   - timeoutSeconds: After this it and what it started get SIGTERM, five seconds later SIGKILL,
///     and an error is thrown.
public func runProgram(
  _ program: String, _ arguments: [String] = [], environment: [String: String] = [:],
  input: [UInt8] = [], folder: String? = nil, timeoutSeconds: Int = 120
) throws -> ProgramResult {
  try withTemporaryFolder { work in
    let files = ["in", "out", "err"].map { "\(work)/\($0)" }
    try writeFile(files[0], input)
    let words = program.contains("/") ? [program] : ["/usr/bin/env", program]
    let all = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let process = try ProgramProcess(
      words + arguments, environment: all.map { "\($0)=\($1)" }, standardFiles: files,
      folder: folder)
    guard let status = process.end(withinSeconds: timeoutSeconds) else {
      for (signal, seconds) in [(SIGTERM, 5), (SIGKILL, 15)] {
        process.send(signal)
        if process.end(withinSeconds: seconds) != nil { break }
      }
      throw ProgramError(description: "\(program) \(arguments): no end in \(timeoutSeconds) s")
    }
    return ProgramResult(
      status: status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f,
      standardOutput: try readFile(files[1]),
      standardError: String(decoding: try readFile(files[2]), as: UTF8.self))
  }
}

/// A child of this process.
private final class ProgramProcess: Sendable {
  private let id: pid_t
  /// As waitpid gives it; nil until it has been waited for.
  private let status = Mutex<Int32?>(nil)
  private let ended = DispatchSemaphore(value: 0)

  /// - Parameters:
  ///   - words: The program's path and its arguments.
  ///   - standardFiles: The paths of standard input, output and error.
  init(
    _ words: [String], environment: [String], standardFiles: [String], folder: String?
  ) throws {
    let lists = unsafe [words, environment, standardFiles].map { list in
      unsafe list.map { unsafe strdup($0) } + [nil]
    }
    defer { unsafe lists.joined().forEach { unsafe free($0) } }
    var child: pid_t = 0
    let failure = unsafe test_spawn(
      &child, lists[0], lists[1], lists[2].map { unsafe UnsafePointer($0) }, folder)
    guard failure == 0 else {
      let reason = unsafe String(cString: strerror(failure))
      throw ProgramError(description: "\(words[0]) did not start: \(reason)")
    }
    id = child
    Thread.detachNewThread { self.wait() }
  }

  /// Takes its status. It is a zombie until then, so that its number is nobody else's.
  private func wait() {
    var info = unsafe siginfo_t()
    while unsafe waitid(P_PID, id_t(id), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR {}
    status.withLock { status in
      var value: Int32 = 0
      while unsafe waitpid(id, &value, 0) < 0 && errno == EINTR {}
      status = value
    }
    ended.signal()
  }

  /// Its status, as waitpid gives it; nil if it has not ended by then.
  func end(withinSeconds seconds: Int) -> Int32? {
    guard ended.wait(timeout: .now() + .seconds(seconds)) == .success else { return nil }
    return status.withLock { $0 }
  }

  /// Sends a signal to it and to what it started, if it has not ended.
  func send(_ signal: Int32) {
    status.withLock { status in
      if status == nil { kill(-id, signal) }
    }
  }
}

/// Like `runProgram`, and an exit code other than 0 is an error that quotes what it said.
@discardableResult
public func runProgramOrThrow(
  _ program: String, _ arguments: [String] = [], environment: [String: String] = [:],
  input: [UInt8] = [], folder: String? = nil, timeoutSeconds: Int = 120
) throws -> ProgramResult {
  let result = try runProgram(
    program, arguments, environment: environment, input: input, folder: folder,
    timeoutSeconds: timeoutSeconds)
  guard result.status == 0 else {
    throw ProgramError(
      description: "\(program) \(arguments): exit code \(result.status): \(result.standardError)")
  }
  return result
}
