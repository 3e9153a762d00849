// SPDX-License-Identifier: GPL-2.0
// Formatted volumes that the engine has initialised, before the driver ever saw them.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct InitialisedVolumeTests {
  /// The driver finds nothing, works on the volume, finds nothing again, and gives it back.
  @Test(arguments: [
    "a.img",
    "--block_size=512 --btree_node_size=64k --bucket=128k a.img",
    "--metadata_checksum=xxhash --str_hash=crc32c a.img",
    "--replicas=2 a.img --fs_size=128M b.img",
    "--encrypted --passphrase_file=secret a.img",
    "--metadata_replicas=2 --fs_size=100M a.img --durability=2 b.img",
  ])
  func theDriverGoesOnWithAVolumeThatTheEngineInitialised(arguments: String) throws {
    try withTemporaryFolder { folder in
      let words = arguments.split(separator: " ").map(String.init)
      let images = ["a.img", "b.img"].filter(words.contains).map { "\(folder)/\($0)" }
      for image in images { try runProgramOrThrow("truncate", ["-s", "192M", image]) }
      try writeFile("\(folder)/secret", Array("correct horse\n".utf8))
      try runProgramOrThrow(
        builtProgram("bcachefs"), ["format", "--quiet"] + words, folder: folder)
      let passphrase = words.contains("--passphrase_file=secret") ? "correct horse" : nil
      for isClosed in [true, false] {
        let copies = images.map { "\($0).\(isClosed)" }
        for (image, copy) in zip(images, copies) {
          try FileManager.default.copyItem(atPath: image, toPath: copy)
        }
        try open(copies, passphrase, isClosed: isClosed)
        let first = try KernelGuest.check(images: copies, passphrase: passphrase)
        #expect(first.complaints == [], "closed: \(isClosed)")
        let turn = try KernelGuest.run(
          job: #". "$JOB_GUEST/turn.sh""#, images: copies,
          environment: ["JOB_PASSPHRASE": passphrase ?? "", "JOB_SEED": "1"])
        #expect(turn.complaints == [], "closed: \(isClosed)")
        try open(copies, passphrase, isClosed: true)
        let last = try KernelGuest.check(images: copies, passphrase: passphrase)
        #expect(last.complaints == [], "closed: \(isClosed)")
        for copy in copies { try FileManager.default.removeItem(atPath: copy) }
      }
    }
  }

  /// - Parameter isClosed: Or left as after a crash.
  private func open(_ images: [String], _ passphrase: String?, isClosed: Bool) throws {
    let engine = try OpenedImages.open(images, passphrase: passphrase)
    if isClosed { try engine.close() }
    try OpenedImages.letGo(engine)
  }
}
