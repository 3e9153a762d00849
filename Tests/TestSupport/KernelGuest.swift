// SPDX-License-Identifier: GPL-2.0
// The real Linux driver as judge: a guest (User-Mode Linux) that boots in half a second.
//
// How it works
//   1. `Tests/KernelTests/guest/run` starts the kernel as a plain process. Its root is this
//      machine's file tree; the images are its disks.
//   2. A job is a bash script, run as root in there. What it prints is the result; what the kernel
//      says meanwhile is the `KernelLog`.
//   3. `check` mounts with fsck and makes a manifest; `readWriteRound` lets Linux change the volume
//      first. Both judge by the log: a message not known to be harmless is a complaint.
// Invariants
//   (1) The driver writes to what it mounts, even read-only (it recovers): images are copies.
//   (2) Without a kernel nothing here runs: tests are skipped by name with `missing` as the reason.
// Source: Linux 6.12 fs/bcachefs; the keyring's description is that of bch2_request_key.

public enum KernelGuest {
  /// The kernel to boot: `BCACHEFS_TEST_KERNEL`, or the one that `make test-kernel` built.
  public static let kernelPath: String? = {
    if let named = environmentVariable("BCACHEFS_TEST_KERNEL") { return named }
    let home = environmentVariable("HOME") ?? "/"
    let cache = "\(environmentVariable("XDG_CACHE_HOME") ?? "\(home)/.cache")/swift-bcachefs"
    return fileNames(in: cache).filter { $0.hasPrefix("linux-um-") }.map { "\(cache)/\($0)/linux" }
      .last { fileExists($0) }
  }()

  public static var isAvailable: Bool { kernelPath != nil }

  /// Why tests are skipped: `.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)")`.
  public static let missing = "no test kernel: make test-kernel builds one"

  /// The folder of the guest's scripts.
  public static let scripts = "\(repositoryRoot)/Tests/KernelTests/guest"

  /// What a job did.
  public struct Outcome: Sendable {
    public let result: ProgramResult
    public let log: KernelLog
    public var status: Int32 { result.status }

    /// What the driver found wrong: its complaints, and that the job failed, where it did.
    public var complaints: [String] {
      guard status != 0 else { return log.complaints }
      let said = result.standardError.split(separator: "\n").suffix(3).joined(separator: "; ")
      return log.complaints + ["the job ended with \(status): \(said)"]
    }

    /// The manifest lines that `check` and `readWriteRound` print.
    public var manifest: [String] { lines }

    /// The lines that the job prints.
    public var lines: [String] { result.text.split(separator: "\n").map(String.init) }
  }

  /// Runs `job`, a bash script, as root in the guest.
  ///
  /// - Parameters:
  ///   - images: Become /dev/ubda, /dev/ubdb, ... in this order.
  ///   - environment: The job sees those variables whose names begin with `JOB_`.
  ///   - memoryMiB: The guest's memory.
  /// - Throws: When there is no kernel, or the program cannot be run; never for what the job does.
  public static func run(
    job: String, images: [String], environment: [String: String] = [:], timeoutSeconds: Int = 300,
    memoryMiB: Int = 1024
  ) throws -> Outcome {
    guard let kernelPath else { throw ProgramError(description: missing) }
    return try withTemporaryFolder { folder in
      try writeFile("\(folder)/job.sh", Array(job.utf8))
      try writeFile("\(folder)/log", [])
      let settings = [
        "BCACHEFS_TEST_KERNEL": kernelPath, "GUEST_LOG": "\(folder)/log",
        "GUEST_MEMORY": "\(memoryMiB)M", "GUEST_TIMEOUT": "\(timeoutSeconds)",
      ]
      let result = try runProgram(
        "\(scripts)/run", ["\(folder)/job.sh"] + images,
        environment: environment.merging(settings) { $1 }, timeoutSeconds: timeoutSeconds + 30)
      let log = KernelLog(String(decoding: try readFile("\(folder)/log"), as: UTF8.self))
      return Outcome(result: result, log: log)
    }
  }

  /// Mounts a volume read-only with fsck; its complaints and its manifest are the outcome's.
  ///
  /// - Parameters:
  ///   - subfolder: Where the manifest starts; empty for the volume's root.
  ///   - options: Further mount options, a comma between.
  public static func check(
    images: [String], passphrase: String? = nil, subfolder: String = "", options: String = ""
  ) throws -> Outcome {
    try run(
      job: #". "$JOB_GUEST/check.sh""#, images: images,
      environment: [
        "JOB_PASSPHRASE": passphrase ?? "", "JOB_SUBFOLDER": subfolder, "JOB_OPTIONS": options,
      ])
  }

  /// Mounts a volume read-write, changes what is in it and adds more (files of every kind,
  /// subvolumes, snapshots), unmounts, and checks it again. Fails unless it reads back the same.
  public static func readWriteRound(
    images: [String], passphrase: String? = nil, seed: UInt64 = 1
  ) throws -> Outcome {
    try run(
      job: #". "$JOB_GUEST/round.sh""#, images: images,
      environment: ["JOB_PASSPHRASE": passphrase ?? "", "JOB_SEED": "\(seed)"])
  }
}
