// SPDX-License-Identifier: GPL-2.0
// A folder of its own for a test, gone with its owner.

internal import Foundation

/// A new folder below the system's temporary folder (or `TMPDIR`).
public struct TemporaryFolder: ~Copyable {
  public let path: String

  public init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "swift-bcachefs-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The path of `name` in this folder.
  public func file(_ name: String) -> String { "\(path)/\(name)" }

  /// The names in this folder, hidden ones too, sorted.
  public func names() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path).sorted()
  }
}
