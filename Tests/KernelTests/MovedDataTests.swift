// SPDX-License-Identifier: GPL-2.0
// Data that was moved and shared here: the driver's fsck finds nothing wrong, and it reads the
// same.

internal import BcachefsFormat
internal import BcachefsSupport
internal import FileModel
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct MovedDataTests {
  private func open(
    _ images: [String], seed: UInt64, passphrase: String? = nil
  ) throws -> FileSystem {
    FileSystem(
      try OpenedImages.open(images, seed: seed, passphrase: passphrase), dirtyLimitBytes: 1 << 20)
  }

  /// Writes a file's contents where the guest can compare them.
  private func export(_ id: FileID, _ files: FileSystem, to path: String) throws -> [UInt8] {
    let size = try files.attributes(of: id).inode.size
    var bytes = [UInt8](repeating: 0, count: Int(size))
    var span = bytes.mutableRawBytes
    let count = try files.read(id, from: 0, into: &span)
    #expect(count == Int(size))
    try writeFile(path, bytes)
    return bytes
  }

  /// Fragmented buckets of the driver's volumes are emptied, and files are copied: the driver shows
  /// what it showed before.
  @Test(
    .enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"),
    arguments: SampleVolume.corpus.filter {
      [
        "reflink", "tiered", "lz4", "zstd", "encrypted", "replicas", "snapshots", "plain", "nocow",
      ].contains($0.name)
    })
  func theDriversVolumesReadAsBeforeWhenMuchWasMoved(volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try volume.unpack(into: folder)
      let files = try open(images, seed: 4, passphrase: volume.passphrase)
      let copies = try files.create(
        Array("copies".utf8), in: files.root, FileCreation(.directory, permissions: 0o755)
      ).id
      let sources = try files.names(of: files.root).filter { $0.kind == .regular }.prefix(6)
      for (number, source) in sources.enumerated() {
        let copy = try files.create(
          Array("copy \(number)".utf8), in: copies, FileCreation(.regular, permissions: 0o600)
        ).id
        let size = try files.attributes(of: source.id).inode.size
        #expect(try files.copyRange(from: source.id, 0..<size, to: copy, at: 0) == size)
        let (a, b) = (
          try export(source.id, files, to: "\(folder)/a"),
          try export(copy, files, to: "\(folder)/b")
        )
        #expect(a == b)
      }
      let engine = files.engine
      let buckets = try engine.fragmentedBuckets(on: .max, limit: 10_000, without: [])
      var moved = EvacuationCounts()
      let mover = ExtentMover(engine)
      for bucket in buckets { try engine.evacuate(bucket, mover, &moved, until: { false }) }
      #expect(moved.sectors + moved.nodes > 0 && moved.failed == 0, "\(moved)")
      try files.close()
      let outcome = try KernelGuest.check(images: images, passphrase: volume.passphrase)
      #expect(outcome.complaints == [])
      let seen = outcome.manifest.filter {
        !$0.hasPrefix("copies\t") && !$0.hasPrefix("copies/")
      }
      let difference = manifestDifference(expected: try volume.manifest(), seen: seen)
      #expect(difference == [])
    }
  }

  @Test func theDriverAndWeShareEachOthersExtents() throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/a.img"
      try runProgramOrThrow("truncate", ["-s", "128M", image])
      try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet", image])
      let make = """
        set -eu
        . "$JOB_GUEST/common.sh"
        mount_volume rw /mnt/a
        cd /mnt/a
        head -c 3000001 /dev/urandom >source
        seq 1 100 >inline
        cp --reflink=always source clone
        python3 "$JOB_GUEST/subvolume.py" create /mnt/a/sub
        cp source sub/file
        python3 "$JOB_GUEST/subvolume.py" snapshot /mnt/a/sub /mnt/a/snap
        cd /
        umount /mnt/a
        """
      #expect(try KernelGuest.run(job: make, images: [image]).complaints == [])
      let files = try open([image], seed: 2)
      func find(_ path: String) throws -> FileID {
        var id = files.root
        for part in path.split(separator: "/") {
          id = try files.lookup(Array(part.utf8), in: id).id
        }
        return id
      }
      func makeFile(_ name: String) throws -> FileID {
        try files.create(
          Array(name.utf8), in: files.root, FileCreation(.regular, permissions: 0o644)
        ).id
      }
      let (clone, inline, ours) = (try find("clone"), try find("inline"), try makeFile("ours"))
      let (file, whole) = (try find("sub/file"), try makeFile("whole"))
      #expect(try files.copyRange(from: clone, 0..<1 << 40, to: whole, at: 0) == 3_000_001)
      _ = try files.copyRange(from: inline, 0..<1 << 20, to: ours, at: 0)
      _ = try files.copyRange(from: file, 8192..<900_000, to: ours, at: 4096)
      _ = try files.copyRange(from: clone, 0..<65536, to: clone, at: 1 << 20)
      try files.change(file, 65536..<131_072, .insert)
      try files.change(file, 1 << 20..<1 << 20 + 8192, .collapse)
      let paths = ["source", "clone", "inline", "ours", "whole", "sub/file", "snap/file"]
      for (number, path) in paths.enumerated() {
        _ = try export(find(path), files, to: "\(folder)/\(number)")
      }
      try files.close()
      let compare = paths.enumerated().map { "cmp /mnt/a/\($1) \(folder)/\($0)" }
        .joined(separator: "\n")
      let job = """
        set -eu
        . "$JOB_GUEST/common.sh"
        mount_volume ro,fsck,errors=continue /mnt/a
        \(compare)
        umount /mnt/a
        mount_volume rw /mnt/a
        cp --reflink=always /mnt/a/ours /mnt/a/theirs
        rm /mnt/a/source /mnt/a/whole /mnt/a/inline
        umount /mnt/a
        """
      #expect(try KernelGuest.run(job: job, images: [image]).complaints == [])
      let again = try open([image], seed: 3)
      for name in ["ours", "theirs", "clone"] {
        try again.unlink(Array(name.utf8), in: again.root)
      }
      try again.close()
      let outcome = try KernelGuest.check(images: [image])
      #expect(outcome.complaints == [])
    }
  }
}
