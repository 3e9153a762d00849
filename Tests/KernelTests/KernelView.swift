// SPDX-License-Identifier: GPL-2.0
// What the driver shows of a volume that it has mounted, and what our command shows of it.

internal import Foundation
internal import TestSupport
internal import Testing

/// The driver's view of a clean volume (debugfs, sysfs), taken without changing the volume.
struct KernelView {
  private let folder: String
  /// The files of sysfs by path, without newlines at their ends.
  let files: [String: String]

  /// Mounts the volume in a guest. What is shown is left in `folder`.
  init(images: [String], passphrase: String?, folder: String) throws {
    self.folder = folder
    let outcome = try KernelGuest.run(
      job: #". "$JOB_GUEST/view.sh""#, images: images,
      environment: ["JOB_OUT": folder, "JOB_PASSPHRASE": passphrase ?? ""])
    try #require(outcome.status == 0, "\(outcome.result.standardError)\(outcome.log)")
    let sysfs = String(decoding: try readFile("\(folder)/sysfs"), as: UTF8.self)
    var files: [String: String] = [:]
    for part in sysfs.components(separatedBy: "== ").dropFirst() {
      let lines = part.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
      files[String(lines[0])] =
        (lines.count > 1 ? String(lines[1]) : "").trimmingCharacters(in: .newlines)
    }
    self.files = files
  }

  var btrees: [String] {
    fileNames(in: folder).filter { $0.hasPrefix("keys.") }.map { String($0.dropFirst(5)) }
  }

  /// All keys of a btree as the kernel prints them.
  func keys(of btree: String) throws -> [UInt8] { try readFile("\(folder)/keys.\(btree)") }

  /// All nodes of a btree as the kernel prints them.
  func formats(of btree: String) throws -> String {
    String(decoding: try readFile("\(folder)/formats.\(btree)"), as: UTF8.self)
  }

  /// Block size, blocks and free blocks of statfs(2).
  func statfs() throws -> [UInt64] {
    String(decoding: try readFile("\(folder)/statfs"), as: UTF8.self)
      .split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
  }

  /// A file's value; of one that lists all choices, the chosen one.
  func value(_ path: String) -> String? {
    guard let text = files[path] else { return nil }
    guard let start = text.firstIndex(of: "["), let end = text.firstIndex(of: "]"), start < end
    else { return text }
    return String(text[text.index(after: start)..<end])
  }
}

/// The lines that two texts do not share, at most a few.
func lineDifference(kernel: [UInt8], ours: [UInt8]) -> [String] {
  let newline = UInt8(ascii: "\n")
  let kernelLines = kernel.split(separator: newline, omittingEmptySubsequences: false)
  let ourLines = ours.split(separator: newline, omittingEmptySubsequences: false)
  var result: [String] = []
  for index in 0..<max(kernelLines.count, ourLines.count) where result.count < 6 {
    let kernelLine = index < kernelLines.count ? kernelLines[index] : []
    let ourLine = index < ourLines.count ? ourLines[index] : []
    guard kernelLine != ourLine else { continue }
    result.append("kernel \(index): \(String(decoding: kernelLine, as: UTF8.self))")
    result.append("ours   \(index): \(String(decoding: ourLine, as: UTF8.self))")
  }
  return result
}

/// Runs the built command on a volume.
struct CommandOnVolume {
  let images: [String]
  /// Options that open it.
  let unlocking: [String]

  var volume: String { images.joined(separator: ":") }

  /// - Parameter folder: gets a file with the passphrase, where there is one.
  init(images: [String], passphrase: String?, folder: String) throws {
    self.images = images
    guard let passphrase else {
      unlocking = []
      return
    }
    try writeFile("\(folder)/passphrase", Array(passphrase.utf8))
    unlocking = ["--passphrase_file", "\(folder)/passphrase"]
  }

  /// Runs a command whose last operand is the volume.
  func run(_ arguments: [String]) throws -> ProgramResult {
    let result = try runProgram(
      builtProgram("bcachefs"), arguments + unlocking + [volume], environment: ["TZ": "UTC"],
      timeoutSeconds: 600)
    #expect(result.status == 0, "\(arguments): \(result.standardError)")
    return result
  }

  func object(_ arguments: [String]) throws -> [String: Any] {
    let value = try JSONSerialization.jsonObject(with: Data(try run(arguments).standardOutput))
    return try #require(value as? [String: Any])
  }

  func objects(_ arguments: [String]) throws -> [[String: Any]] {
    let value = try JSONSerialization.jsonObject(with: Data(try run(arguments).standardOutput))
    return try #require(value as? [[String: Any]])
  }

  /// The superblock of the first device, all sections.
  func superblock() throws -> [String: Any] {
    let result = try runProgramOrThrow(
      builtProgram("bcachefs"), ["show-super", "--json", "--fields=all", images[0]])
    let value = try JSONSerialization.jsonObject(with: Data(result.standardOutput))
    return try #require(value as? [String: Any])
  }
}
