// SPDX-License-Identifier: GPL-2.0
// Operations that were logged and not completed: the driver and the engine complete the same ones,
// and the files are the same.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct LoggedOperationTests {
  /// Sectors that a file's extents move by; negative if they are removed.
  private enum Work {
    case truncate(bytes: UInt64)
    case shift(at: UInt64, by: Int64)
  }

  private static let work: [(name: String, subvolume: UInt32, work: Work)] = [
    ("cut", 1, .truncate(bytes: 300_001)), ("emptied", 1, .truncate(bytes: 0)),
    ("grown", 1, .truncate(bytes: 5_000_000)),
    ("inserted", 1, .shift(at: 160, by: 80)),
    ("before", 1, .shift(at: 0, by: 8)),
    ("behind", 1, .shift(at: 1 << 20, by: 80)),
    ("removed", 1, .shift(at: 160, by: -80)),
    ("first", 1, .shift(at: 80, by: -80)),
    ("sub/cut", 2, .truncate(bytes: 300_001)), ("snap/inserted", 3, .truncate(bytes: 9)),
  ]

  private static let make = """
    set -eu
    . "$JOB_GUEST/common.sh"
    mount_volume rw /mnt/a
    python3 "$JOB_GUEST/subvolume.py" create /mnt/a/sub
    cd /mnt/a
    for name in cut emptied grown inserted before behind moving removed first sub/cut \\
      sub/inserted sub/removed sub/moving; do
      { seq 1 60000; head -c 400000 /dev/urandom; } >$name
      sync
      for place in 3 20 50 90; do
        head -c 9000 /dev/urandom | dd of=$name bs=4096 seek=$place conv=notrunc status=none
      done
    done
    python3 "$JOB_GUEST/subvolume.py" snapshot /mnt/a/sub /mnt/a/snap
    sync
    for name in sub/cut snap/removed sub/inserted; do
      head -c 50000 /dev/urandom | dd of=$name bs=4096 seek=37 conv=notrunc status=none
    done
    sync
    for name in $JOB_NAMES; do echo "$name $(stat -c %i $name)"; done
    cd /
    umount /mnt/a
    """

  private static let look = """
    set -eu
    . "$JOB_GUEST/common.sh"
    mount_volume $JOB_MODE /mnt/a
    cd /mnt/a
    for name in $JOB_NAMES sub/removed sub/moving snap/cut; do
      echo "$name $(stat -c '%s %b' $name) $(md5sum <$name)"
    done
    cd /
    umount /mnt/a
    """

  private func log(
    _ engine: Engine, _ inodes: [String: UInt64],
    _ all: [(name: String, subvolume: UInt32, work: Work)] = Self.work
  ) throws {
    for (index, (name, subvolume, work)) in all.enumerated() {
      let inode = try #require(inodes[name])
      let place = BPos(0, UInt64(index) + 1, 0)
      try engine.run("test_log") { (transaction) throws(TransactionError) in
        var buffer = AlignedBuffer(byteCount: 64)
        var bytes = buffer.mutableBytes
        let type: BKeyType
        let count: Int
        switch work {
        case .truncate(let size):
          LoggedOpTruncate(subvolume: subvolume, inode: inode, newSize: size).encode(into: &bytes)
          (type, count) = (.loggedOpTruncate, LoggedOpTruncate.encodedU64s)
        case .shift(let source, let shift):
          LoggedOpFinsert(
            state: 0, subvolume: subvolume, inode: inode,
            destination: Int64(source) + shift, source: source,
            position: shift > 0 ? .max : source
          ).encode(into: &bytes)
          (type, count) = (.loggedOpFinsert, LoggedOpFinsert.encodedU64s)
        }
        transaction.update(
          .loggedOps, BKey(type: type, position: place, valueU64s: count),
          bytes.bytes.extracting(0..<count * 8))
        try transaction.commit()
      }
    }
    try engine.journal.flush(upTo: engine.journal.currentSequence)
  }

  @Test(arguments: ["", "--compression=lz4", "--replicas=2"])
  func theEngineCompletesThemAsTheDriverDoes(options: String) throws {
    try withTemporaryFolder { folder in
      let images = (options == "--replicas=2" ? ["a", "b"] : ["a"]).map { "\(folder)/\($0).img" }
      for image in images { try runProgramOrThrow("truncate", ["-s", "192M", image]) }
      try runProgramOrThrow(
        builtProgram("bcachefs"),
        ["format", "--quiet"] + (options.isEmpty ? [] : [options]) + images)
      let names = Self.work.map(\.name).joined(separator: " ")
      let made = try KernelGuest.run(
        job: Self.make, images: images, environment: ["JOB_NAMES": names])
      #expect(made.complaints == [])
      var inodes: [String: UInt64] = [:]
      for line in made.lines {
        let words = line.split(separator: " ")
        if words.count == 2, let number = UInt64(words[1]) { inodes[String(words[0])] = number }
      }
      let engine = try OpenedImages.open(images)
      try log(engine, inodes)
      try OpenedImages.letGo(engine)
      let copies = images.map { "\($0).copy" }
      for (image, copy) in zip(images, copies) {
        try FileManager.default.copyItem(atPath: image, toPath: copy)
      }
      let theirs = try KernelGuest.run(
        job: Self.look, images: copies, environment: ["JOB_NAMES": names, "JOB_MODE": "rw"])
      #expect(theirs.complaints == [])
      let again = try OpenedImages.open(images)
      #expect(!again.wasClean)
      let isLeft = try again.run("test_left") { (transaction) throws(TransactionError) in
        try transaction.next(.loggedOps, from: .min) != nil
      }
      #expect(!isLeft)
      try again.close()
      try OpenedImages.letGo(again)
      let ours = try KernelGuest.run(
        job: Self.look, images: images,
        environment: ["JOB_NAMES": names, "JOB_MODE": "ro,fsck,errors=continue"])
      #expect(ours.complaints == [])
      #expect(ours.lines.count >= Self.work.count)
      for (our, their) in zip(ours.lines, theirs.lines) { #expect(our == their) }
      #expect(ours.lines.count == theirs.lines.count)
    }
  }

  /// The driver would leave its extents in two places, counted once: here they are shared first.
  @Test(arguments: [80, -80] as [Int64])
  func whatASnapshotSharesIsSharedByName(shift: Int64) throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/a.img"
      try runProgramOrThrow("truncate", ["-s", "192M", image])
      try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet", image])
      let made = try KernelGuest.run(
        job: Self.make, images: [image], environment: ["JOB_NAMES": "sub/inserted"])
      let number = try #require(
        made.lines.first.flatMap { UInt64($0.split(separator: " ").last ?? "") })
      let engine = try OpenedImages.open([image])
      try log(engine, ["it": number], [("it", 2, .shift(at: 160, by: shift))])
      try OpenedImages.letGo(engine)
      let before = try readOnly(image, "snap/inserted")
      var expected = before
      expected.replaceSubrange(37 * 4096..<37 * 4096 + 50000, with: try overwritten(image))
      if shift > 0 {
        expected.insert(contentsOf: repeatElement(0, count: 80 * 512), at: 160 * 512)
      } else {
        expected.removeSubrange(160 * 512..<240 * 512)
      }
      let again = try OpenedImages.open([image])
      try again.close()
      try OpenedImages.letGo(again)
      #expect(try readOnly(image, "sub/inserted") == expected)
      #expect(try readOnly(image, "snap/inserted") == before)
      let outcome = try KernelGuest.check(images: [image])
      #expect(outcome.complaints == [])
    }
  }

  private func readOnly(_ image: String, _ path: String) throws -> [UInt8] {
    let volume = try Volume.open(VolumeSources(paths: [image]))
    return try volume.contents(of: volume.resolve(path))
  }

  /// What was written to a part of `sub/inserted` after the snapshot; the shift has not begun.
  private func overwritten(_ image: String) throws -> ArraySlice<UInt8> {
    try readOnly(image, "sub/inserted")[37 * 4096..<37 * 4096 + 50000]
  }
}
