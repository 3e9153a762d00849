// SPDX-License-Identifier: GPL-2.0
// Manifests: one line a path, by the script that lists what the driver shows.

internal import Foundation

/// The manifest's lines of a directory on this machine.
public func manifest(of directory: String) throws -> [String] {
  try runProgramOrThrow(
    "python3", ["\(KernelGuest.scripts)/manifest.py", directory], timeoutSeconds: 300
  ).text.split(separator: "\n").map(String.init)
}

/// A manifest's lines without what a copy cannot have: links of directories count subvolumes on
/// other filesystems, and an archive has no sockets.
public func comparableManifest(_ lines: [String], withSockets: Bool) -> [String] {
  lines.compactMap { line in
    var fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    if fields[1] == "s" && !withSockets { return nil }
    if fields[1] == "d" { fields[3] = "-" }
    return fields.joined(separator: "\t")
  }.sorted()
}

/// The first lines that two manifests do not share, each with `-` or `+`; none when they are equal.
public func manifestDifference(expected: [String], seen: [String]) -> [String] {
  let expectedSet = Set(expected)
  let seenSet = Set(seen)
  let lost = expected.filter { !seenSet.contains($0) }.map { "- \($0)" }
  let added = seen.filter { !expectedSet.contains($0) }.map { "+ \($0)" }
  return Array((lost + added).prefix(20))
}

/// Whether owners, device nodes and trusted attributes can be made here.
public let isRoot = geteuid() == 0

/// A folder in memory, where all extended attributes have room.
public func withRoomyFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let folder = "/dev/shm/bcachefs-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(atPath: folder) }
  return try body(folder)
}
