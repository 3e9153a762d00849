// SPDX-License-Identifier: GPL-2.0
// Data that the engine's write points have placed: the driver reads it, finds nothing wrong, and
// counts the same room.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct WrittenDataTests {
  @Test(arguments: [
    "a.img", "--replicas=2 a.img --fs_size=128M b.img --fs_size=160M c.img",
    "--label=ssd a.img --label=hdd b.img --durability=0 --label=cache c.img "
      + "--foreground_target=ssd --metadata_target=hdd",
  ])
  func theDriverReadsWhatWasPlacedAndCountsTheSameRoom(arguments: String) throws {
    try withTemporaryFolder { folder in
      let words = arguments.split(separator: " ").map(String.init)
      let images = ["a.img", "b.img", "c.img"].filter(words.contains).map { "\(folder)/\($0)" }
      for image in images { try runProgramOrThrow("truncate", ["-s", "192M", image]) }
      try runProgramOrThrow(
        builtProgram("bcachefs"), ["format", "--quiet", "--bucket=128k"] + words, folder: folder)
      let engine = try OpenedImages.open(images)
      let file = WrittenFile(name: "data", inode: 5000, seed: 11)
      let data = try file.make(in: engine, sectors: 100_000)
      try writeFile("\(folder)/expected", data)
      try close(engine)
      let again = try OpenedImages.open(images)
      let (capacity, available) = (again.usage.capacity, again.usage.available)
      try close(again)
      let outcome = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          mount_volume ro,fsck,errors=continue /mnt/a
          stat -f -c 'room %S %b %a' /mnt/a
          md5sum </mnt/a/data
          umount /mnt/a
          """, images: images)
      #expect(outcome.complaints == [])
      let lines = outcome.lines
      let room = try #require(lines.first { $0.hasPrefix("room ") })
        .split(separator: " ").dropFirst().compactMap { UInt64($0) }
      #expect(room[1] == capacity * 512 / room[0])
      #expect(room[2] == available * 512 / room[0])
      let sum = String(
        decoding: try runProgramOrThrow("md5sum", ["\(folder)/expected"]).standardOutput,
        as: UTF8.self)
      #expect(lines.contains { $0.prefix(32) == sum.prefix(32) })
    }
  }

  private func close(_ engine: Engine) throws {
    try engine.close()
    try OpenedImages.letGo(engine)
  }
}
