// SPDX-License-Identifier: GPL-2.0
// What a test that runs for long says meanwhile.

import BcachefsSupport
import Foundation

/// Lines ten seconds apart that say how far a long run has come, in the file that the environment
/// names: `scripts/run-tests` shows them at once, which `swift test` does not do with a test's own
/// output, so that a run that is stopped tells where it was.
public struct Progress: ~Copyable {
  private let name: String
  private let total: Int
  private let start = ContinuousClock.now
  private var next = ContinuousClock.now + .seconds(10)

  /// - Parameters:
  ///   - name: The run, with its seed.
  ///   - total: How many steps it will take.
  public init(_ name: String, of total: Int) {
    self.name = name
    self.total = total
  }

  /// Called after each step; cheap when there is nothing to say yet.
  public mutating func reached(_ step: Int) {
    let now = ContinuousClock.now
    guard let path = Self.path, now >= next else { return }
    next = now + .seconds(10)
    let seconds = (now - start).components.seconds
    guard let file = FileHandle(forWritingAtPath: path) else { return }
    file.seekToEndOfFile()
    file.write(Data("\(name): \(step) of \(total) after \(seconds) s\n".utf8))
    file.closeFile()
  }

  private static let path = environmentVariable("BCACHEFS_TEST_PROGRESS")
}
