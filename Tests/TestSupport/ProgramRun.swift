// SPDX-License-Identifier: GPL-2.0
// Running other programs from tests: spawn, capture, and an end even when they hang.

internal import Dispatch
internal import Foundation

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
///   - timeoutSeconds: After this it gets SIGTERM, five seconds later SIGKILL, and an error is
///     thrown.
public func runProgram(
  _ program: String, _ arguments: [String] = [], environment: [String: String] = [:],
  input: [UInt8] = [], folder: String? = nil, timeoutSeconds: Int = 120
) throws -> ProgramResult {
  try withTemporaryFolder { work in
    let inputPath = "\(work)/in"
    let outputPath = "\(work)/out"
    let errorPath = "\(work)/err"
    try writeFile(inputPath, input)
    try writeFile(outputPath, [])
    try writeFile(errorPath, [])

    let process = Process()
    let isPath = program.contains("/")
    process.executableURL = URL(fileURLWithPath: isPath ? program : "/usr/bin/env")
    process.arguments = isPath ? arguments : [program] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
    process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: inputPath))
    process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: outputPath))
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errorPath))
    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    do {
      try process.run()
    } catch {
      throw ProgramError(description: "\(program) did not start: \(error)")
    }
    if ended.wait(timeout: .now() + .seconds(timeoutSeconds)) == .timedOut {
      process.terminate()
      if ended.wait(timeout: .now() + .seconds(5)) == .timedOut {
        kill(process.processIdentifier, SIGKILL)
        ended.wait()
      }
      throw ProgramError(description: "\(program) \(arguments): no end in \(timeoutSeconds) s")
    }
    let signalled = process.terminationReason == .uncaughtSignal
    return ProgramResult(
      status: process.terminationStatus + (signalled ? 128 : 0),
      standardOutput: try readFile(outputPath),
      standardError: String(decoding: try readFile(errorPath), as: UTF8.self))
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
