// SPDX-License-Identifier: GPL-2.0
// A volume mounted by the built command, for the time of a test.

internal import Foundation
internal import Glibc
internal import TestSupport

/// Whether this machine lets us mount by FUSE.
enum FUSESupport {
  static let missing = "mounts need /dev/fuse, and root or fusermount3"

  static let isAvailable: Bool = {
    let device = unsafe open("/dev/fuse", O_RDWR)
    guard device >= 0 else { return false }
    close(device)
    let helpers = ["/bin/fusermount3", "/usr/bin/fusermount3"]
    return geteuid() == 0 || helpers.contains(where: fileExists)
  }()

  static let isRoot = geteuid() == 0
}

/// A mount; it is gone with its owner, whoever still uses it.
struct MountedVolume: ~Copyable {
  let path: String
  private let folder: TemporaryFolder
  let source: String

  /// Mounts in the background.
  ///
  /// - Parameters:
  ///   - images: The devices.
  ///   - isChanged: Whether it is for writing, too.
  ///   - options: Added to `ro` or `rw`.
  init(
    _ images: [String], isChanged: Bool = false, options: String = "", passphrase: String? = nil
  ) throws {
    let folder = try TemporaryFolder()
    let path = folder.file("mount")
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    var arguments = [
      "mount", "-o", "\(isChanged ? "rw" : "ro")\(options.isEmpty ? "" : ",\(options)")",
    ]
    if let passphrase {
      try writeFile(folder.file("passphrase"), Array(passphrase.utf8))
      arguments += ["-o", "passphrase_file=\(folder.file("passphrase"))"]
    }
    let source = images.joined(separator: ":")
    try runProgramOrThrow(
      builtProgram("bcachefs"), arguments + [source, path], timeoutSeconds: 60)
    self.path = path
    self.source = source
    self.folder = folder
  }

  deinit {
    _ = try? runProgram("fusermount3", ["-u", "-z", path], timeoutSeconds: 20)
  }

  /// The process that serves it.
  func server() throws -> Int32? {
    let found = try runProgram("pgrep", ["-f", "bcachefs mount .*\(source)"])
    return found.text.split(separator: "\n").first.flatMap { Int32($0) }
  }

  /// Unmounts, and waits until the volume is closed.
  func end() throws {
    do { try runProgramOrThrow("umount", [path], timeoutSeconds: 60) } catch {
      // Where it is busy: who has something of it open.
      let users = try runProgram(
        "bash",
        ["-c", "ls -l /proc/[0-9]*/{cwd,root,exe,fd/*,map_files/*} 2>&1 | grep -F '\(path)'"])
      throw ProgramError(description: "\(error)\n\(users.text)")
    }
    try waitForServer()
  }

  /// The power fails, as far as the server is concerned.
  func kill() throws {
    if let process = try server() { _ = Glibc.kill(process, SIGKILL) }
    try waitForServer()
    try runProgramOrThrow("umount", ["-l", path], timeoutSeconds: 60)
  }

  private func waitForServer() throws {
    for _ in 0..<600 {
      guard try server() != nil else { return }
      usleep(100_000)
    }
    throw ProgramError(description: "the server of \(source) does not end")
  }

  /// Runs a shell script in the mount's root. Nothing in this process touches a mount: it could
  /// wait for ever.
  func shell(_ script: String, timeoutSeconds: Int = 120) throws -> ProgramResult {
    try runProgram(
      "timeout",
      ["-k", "5", "\(timeoutSeconds)", "bash", "-c", "cd \"$MOUNT\" && { \(script)\n}"],
      environment: ["MOUNT": path, "LC_ALL": "C.UTF-8"], timeoutSeconds: timeoutSeconds + 20)
  }

  /// The same in Python.
  func python(_ script: String, timeoutSeconds: Int = 120) throws -> ProgramResult {
    try runProgram(
      "timeout", ["-k", "5", "\(timeoutSeconds)", "python3", "-c", script],
      environment: ["MOUNT": path], timeoutSeconds: timeoutSeconds + 20)
  }

  /// All that the mount shows.
  func manifest() throws -> [String] {
    let result = try runProgramOrThrow(
      "timeout",
      ["-k", "5", "300", "python3", "\(repositoryRoot)/Tests/KernelTests/guest/manifest.py", path],
      timeoutSeconds: 320)
    return result.text.split(separator: "\n").map(String.init)
  }
}

/// The images of a sample, unpacked for a test.
func withImages<Result>(
  of volume: SampleVolume, _ body: ([String]) throws -> Result
) throws -> Result {
  try withTemporaryFolder { folder in try body(volume.unpack(into: folder)) }
}

/// The checksums of files.
func digests(_ paths: [String]) throws -> String {
  try runProgramOrThrow("sha256sum", paths).text
}

/// Runs a script with `$BCACHEFS`, the fixture's first `$IMAGE`, a `$FOLDER` of its own, and an
/// empty `$MOUNT` in it, which it need not unmount.
///
/// - Parameter files: Made in the folder before.
func runMountScript(
  on fixture: String, _ script: String, files: [String: String] = [:]
) throws -> ProgramResult {
  try withImages(of: SampleVolume.fixture(fixture)) { images in
    let folder = try TemporaryFolder()
    for (name, text) in files { try writeFile(folder.file(name), Array(text.utf8)) }
    return try runProgram(
      "timeout",
      [
        "-k", "5", "60", "bash", "-c",
        "mkdir \"$MOUNT\"; trap 'fusermount3 -q -u -z \"$MOUNT\"' EXIT\n\(script)",
      ],
      environment: [
        "BCACHEFS": builtProgram("bcachefs"), "IMAGE": images[0], "MOUNT": folder.file("mount"),
        "FOLDER": folder.path,
      ], timeoutSeconds: 80)
  }
}
