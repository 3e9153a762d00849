// SPDX-License-Identifier: GPL-2.0
// Data that is written in place, by us and by the driver, in turns: each reads what the other
// wrote, and the driver's fsck finds nothing wrong.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct InPlaceKernelTests {
  private func open(_ images: [String], seed: UInt64) throws -> FileSystem {
    FileSystem(try OpenedImages.open(images, seed: seed), dirtyLimitBytes: 1 << 20)
  }

  private func bytes(_ count: Int, _ seed: UInt64) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  private func find(_ name: String, _ files: FileSystem) throws -> FileID {
    try files.lookup(Array(name.utf8), in: files.root).id
  }

  private func makeFile(_ name: String, _ files: FileSystem) throws -> FileID {
    try files.create(
      Array(name.utf8), in: files.root, FileCreation(.regular, permissions: 0o644)
    ).id
  }

  /// Writes a file's contents where the guest can compare them.
  private func export(_ id: FileID, _ files: FileSystem, to path: String) throws {
    var bytes = [UInt8](repeating: 0, count: Int(try files.attributes(of: id).inode.size))
    var span = bytes.mutableRawBytes
    let count = try files.read(id, from: 0, into: &span)
    #expect(count == bytes.count)
    try writeFile(path, bytes)
  }

  private func export(_ names: [String], _ files: FileSystem, to folder: String) throws {
    for name in names { try export(find(name, files), files, to: "\(folder)/\(name)") }
  }

  /// Overwrites parts of a file at random.
  private func overwrite(_ id: FileID, _ files: FileSystem, seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let size = try files.attributes(of: id).inode.size
    for _ in 0..<12 where size > 0 {
      let start = random.next() % size
      let count = 1 + Int(random.next() % min(size - start, 150_000))
      try files.write(id, bytes(count, random.next()).rawBytes, at: start)
    }
    try files.fsync(id)
  }

  private func overwrite(_ names: [String], _ files: FileSystem, seed: UInt64) throws {
    for name in names { try overwrite(find(name, files), files, seed: seed) }
  }

  /// Adds files below a directory.
  private func collect(
    _ directory: FileID, _ path: String, _ files: FileSystem,
    _ found: inout [(path: String, id: FileID)]
  ) throws {
    for entry in try files.names(of: directory) {
      if entry.kind == .directory {
        try collect(entry.id, path + entry.text + "/", files, &found)
      } else if entry.kind == .regular, found.count < 40, !entry.text.contains("'") {
        found.append((path + entry.text, entry.id))
      }
    }
  }

  @Test(arguments: ["a.img", "--replicas=2 a.img b.img", "--block_size=4k --encrypted a.img"])
  func theDriverAndWeWriteOverEachOthersData(arguments: String) throws {
    try withTemporaryFolder { folder in
      var words = arguments.split(separator: " ").map(String.init)
      if words.contains("--encrypted") { words.insert("--no_passphrase", at: 0) }
      let images = ["a.img", "b.img"].filter(words.contains).map { "\(folder)/\($0)" }
      for image in images { try runProgramOrThrow("truncate", ["-s", "128M", image]) }
      try runProgramOrThrow(
        builtProgram("bcachefs"), ["format", "--quiet", "--nocow"] + words, folder: folder)
      let files = try open(images, seed: 1)
      let (written, allocated) = (
        try makeFile("written", files), try makeFile("allocated", files)
      )
      try files.write(written, bytes(2_000_001, 5).rawBytes, at: 0)
      try files.change(allocated, 0..<3 << 20, .allocate)
      try files.write(allocated, bytes(200_000, 6).rawBytes, at: 1_000_001)
      let shared = try makeFile("shared", files)
      _ = try files.copyRange(from: written, 0..<1 << 20, to: shared, at: 0)
      try overwrite(["written", "shared"], files, seed: 7)
      try export(["written", "allocated", "shared"], files, to: folder)
      try files.close()
      let job = """
        set -eu
        . "$JOB_GUEST/common.sh"
        mount_volume ro,fsck,errors=continue /mnt/a
        cd /mnt/a
        for name in written allocated shared; do cmp $name \(folder)/$name; done
        cd /
        umount /mnt/a
        mount_volume rw /mnt/a
        cd /mnt/a
        fallocate -l 2M theirs
        for name in written allocated shared theirs; do
          head -c 300000 /dev/urandom | dd of=$name bs=1000 seek=700 conv=notrunc status=none
          head -c 5000 /dev/urandom | dd of=$name bs=512 seek=3 conv=notrunc,fsync status=none
          cat $name >\(folder)/$name
        done
        cd /
        umount /mnt/a
        """
      let outcome = try KernelGuest.run(job: job, images: images)
      #expect(outcome.complaints == [])
      let names = ["written", "allocated", "shared", "theirs"]
      let again = try open(images, seed: 2)
      for name in names {
        let expected = try Array(Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)")))
        let id = try find(name, again)
        var found = [UInt8](repeating: 0, count: expected.count)
        var span = found.mutableRawBytes
        #expect(try again.read(id, from: 0, into: &span) == expected.count)
        #expect(found == expected, "\(name)")
      }
      try overwrite(names, again, seed: 8)
      try export(names, again, to: folder)
      try again.close()
      let last = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          mount_volume ro,fsck,errors=continue /mnt/a
          for name in \(names.joined(separator: " ")); do cmp /mnt/a/$name \(folder)/$name; done
          umount /mnt/a
          """, images: images)
      #expect(last.complaints == [])
    }
  }

  @Test(
    .enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"),
    arguments: SampleVolume.corpus.filter { $0.name == "nocow" })
  func theDriversVolumeIsWrittenOver(volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try volume.unpack(into: folder)
      let files = try open(images, seed: 4)
      var paths: [(path: String, id: FileID)] = []
      try collect(files.root, "", files, &paths)
      #expect(paths.count > 10)
      for (number, file) in paths.enumerated() {
        try overwrite(file.id, files, seed: UInt64(number))
        try export(file.id, files, to: "\(folder)/\(number)")
      }
      try files.close()
      let compare = paths.enumerated().map { "cmp '/mnt/a/\($1.path)' \(folder)/\($0)" }
        .joined(separator: "\n")
      let outcome = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          mount_volume ro,fsck,errors=continue /mnt/a
          \(compare)
          umount /mnt/a
          """, images: images)
      #expect(outcome.complaints == [])
    }
  }
}
