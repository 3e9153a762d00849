// SPDX-License-Identifier: GPL-2.0
// Directories to build volumes from, and what the driver has to show of them.

internal import Foundation

/// A directory on this machine that a volume is built from.
public struct SourceTree: Sendable {
  public let path: String

  public init(_ path: String) { self.path = path }

  /// How large the files of a made tree may be.
  public enum Scale: String, Sendable {
    case tiny = "--tiny"
    case small = "--small"
    case full = "--age=200"
  }

  /// Fills `path` with mktree.py's tree of everything that a filesystem must keep.
  ///
  /// Not as root, files that nobody may read become readable to their owner: they could not be
  /// built from.
  public static func make(
    at path: String, seed: Int = 1, scale: Scale = .small, files: Int = 60
  ) throws -> SourceTree {
    try runProgramOrThrow(
      "python3",
      ["\(KernelGuest.scripts)/mktree.py", path, "--seed=\(seed)", "--files=\(files)"]
        + [scale.rawValue])
    if geteuid() != 0 { try runProgramOrThrow("chmod", ["-R", "u+r", path]) }
    return SourceTree(path)
  }

  /// Runs a shell script in the tree's directory, which it makes; `$TREE` is the directory.
  public static func make(at path: String, script: String) throws -> SourceTree {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    try runProgramOrThrow(
      "bash", ["-euc", script], environment: ["TREE": path], folder: path, timeoutSeconds: 300)
    return SourceTree(path)
  }

  /// The lines that manifest.py prints of it: what it prints of the mounted volume.
  public func manifest() throws -> [String] {
    try runProgramOrThrow(
      "python3", ["\(KernelGuest.scripts)/manifest.py", path], timeoutSeconds: 300
    ).text.split(separator: "\n").map(String.init)
  }
}
