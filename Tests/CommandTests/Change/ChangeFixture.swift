// SPDX-License-Identifier: GPL-2.0
// New volumes for the commands that change them, and the driver's word on what became of them.

internal import Foundation
internal import TestSupport
internal import Testing

/// An empty volume of some kind.
struct ChangeFixture {
  enum Kind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case plain
    case compressed
    case encrypted
    case twoDevices

    var testDescription: String { rawValue }

    fileprivate var options: [String] {
      switch self {
      case .plain: []
      case .compressed: ["--compression=zstd"]
      case .encrypted: ["--encrypted"]
      case .twoDevices: ["--replicas=2", "--compression=lz4"]
      }
    }
  }

  static let passphrase = "correct horse"

  let kind: Kind
  let images: [String]
  let folder: String

  var volume: String { images.joined(separator: ":") }

  /// Options that open it.
  var unlocking: [String] {
    kind == .encrypted ? ["--passphrase_file", "\(folder)/passphrase"] : []
  }

  static func with<Result>(
    _ kind: Kind = .plain, mebibytes: Int = 192, _ body: (ChangeFixture) throws -> Result
  ) throws -> Result {
    try withTemporaryFolder { folder in
      try body(try make(kind, in: folder, named: "v", mebibytes: mebibytes))
    }
  }

  static func make(
    _ kind: Kind, in folder: String, named name: String, mebibytes: Int = 192
  ) throws -> ChangeFixture {
    let images = (0..<(kind == .twoDevices ? 2 : 1)).map { "\(folder)/\(name).\($0).img" }
    for image in images { try makeImage(image, mebibytes: mebibytes) }
    try writeFile("\(folder)/passphrase", Array("\(passphrase)\n".utf8))
    let fixture = ChangeFixture(kind: kind, images: images, folder: folder)
    try runProgramOrThrow(
      builtProgram("bcachefs"),
      ["format", "--quiet"] + kind.options + fixture.unlocking + images, folder: folder)
    return fixture
  }

  /// Runs a command on it; the volume stands for VOLUME.
  func run(_ words: String..., input: [UInt8] = []) throws -> ProgramResult {
    let arguments = words.map { $0 == "VOLUME" ? volume : $0 }
    return try runProgram(
      builtProgram("bcachefs"), [arguments[0]] + unlocking + arguments.dropFirst(),
      environment: ["TZ": "UTC"], input: input, folder: folder)
  }

  /// The same, which must succeed and say nothing.
  func succeed(_ words: String..., input: [UInt8] = []) throws {
    let arguments = words.map { $0 == "VOLUME" ? volume : $0 }
    let result = try runProgram(
      builtProgram("bcachefs"), [arguments[0]] + unlocking + arguments.dropFirst(),
      environment: ["TZ": "UTC"], input: input, folder: folder, timeoutSeconds: 300)
    #expect(result.status == 0, "\(arguments): \(result.standardError)")
    #expect(result.standardError == "", "\(arguments)")
  }

  /// What `ls` prints of a directory.
  func names(in path: String) throws -> [String] {
    try run("ls", "-a", "VOLUME", path).text.split(separator: "\n").map(String.init)
      .filter { $0 != "." && $0 != ".." && $0 != "lost+found" }
  }

  /// What the driver shows of a copy, after a check that must find nothing.
  func manifestByDriver(subfolder: String = "") throws -> [String] {
    let copies = images.map { "\($0).copy" }
    for (image, copy) in zip(images, copies) {
      try runProgramOrThrow("cp", ["--sparse=always", image, copy])
    }
    let outcome = try KernelGuest.check(
      images: copies, passphrase: kind == .encrypted ? Self.passphrase : nil,
      subfolder: subfolder)
    for copy in copies { try FileManager.default.removeItem(atPath: copy) }
    // Who was killed has written journal entries that no flush followed.
    let complaints = outcome.complaints.filter { !$0.contains("dropped unflushed entries") }
    #expect(complaints == [])
    return outcome.manifest
  }

  /// What `fsck -n` finds.
  func expectSound() throws {
    let result = try run("fsck", "-n", "--file_counters", "VOLUME")
    #expect(result.status == 0, "\(result.text)\(result.standardError)")
  }
}

/// Lines of one manifest that the other has not, both ways.
func differences(_ expected: [String], _ seen: [String]) -> [String] {
  let lost = Set(expected).subtracting(seen).map { "- \($0)" }
  let added = Set(seen).subtracting(expected).map { "+ \($0)" }
  return Array((lost + added).sorted().prefix(12))
}
