// SPDX-License-Identifier: GPL-2.0
// Files for tests: temporary folders, whole files, and where this checkout lies.

internal import Foundation

/// The checkout's root folder.
public let repositoryRoot: String = {
  // Tests/TestSupport/Files.swift, three up
  var url = URL(fileURLWithPath: #filePath)
  for _ in 0..<3 { url.deleteLastPathComponent() }
  return url.path
}()

/// Makes a folder, hands its path to `body`, and removes it with all that is in it.
public func withTemporaryFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let parent = environmentVariable("TMPDIR") ?? "/tmp"
  let path = "\(parent)/bcachefs-test.\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path)
}

public func readFile(_ path: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
}

public func writeFile(_ path: String, _ bytes: [UInt8]) throws {
  try Data(bytes).write(to: URL(fileURLWithPath: path))
}

/// The names in a folder, sorted; none when there is no such folder.
public func fileNames(in folder: String) -> [String] {
  ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
}

/// The paths of the files below a folder, relative to it, sorted. Hidden names are left out.
public func filePaths(below folder: String) -> [String] {
  let url = URL(fileURLWithPath: folder)
  guard
    let found = FileManager.default.enumerator(
      at: url, includingPropertiesForKeys: nil, options: [.skipsHiddenFiles])
  else { return [] }
  let skipped = url.standardizedFileURL.path.count + 1
  return found.compactMap { entry in
    guard let entry = entry as? URL, !entry.hasDirectoryPath else { return nil }
    return String(entry.standardizedFileURL.path.dropFirst(skipped))
  }.sorted()
}

public func fileExists(_ path: String) -> Bool {
  FileManager.default.fileExists(atPath: path)
}

/// A variable of the environment; nil when it is not set, or empty.
public func environmentVariable(_ name: String) -> String? {
  guard let value = ProcessInfo.processInfo.environment[name], !value.isEmpty else { return nil }
  return value
}

/// Whether the tests that take minutes run too: `BCACHEFS_TEST_LONG` says so.
public let runsLongTests = environmentVariable("BCACHEFS_TEST_LONG") != nil

/// Why they are skipped otherwise.
public let longTestsMissing = "takes minutes: BCACHEFS_TEST_LONG=1 runs it"
