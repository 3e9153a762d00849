// SPDX-License-Identifier: GPL-2.0
// Subvolumes and snapshots that were made and deleted here: the driver shows the same, its fsck
// finds nothing, also after a crash, and we go on with what the driver made.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct SubvolumeKernelTests {
  private func format(_ folder: String, _ options: [String] = []) throws -> String {
    let image = "\(folder)/volume.img"
    try runProgramOrThrow("truncate", ["-s", "256M", image])
    try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet"] + options + [image])
    return image
  }

  private func open(_ image: String, seed: UInt64) throws -> FileSystem {
    var options = FileSystemOptions(seed: seed)
    options.startsThreads = false
    return try FileSystem.open(VolumeSources(paths: [image]), options)
  }

  private func copy(_ image: String) throws -> String {
    let copy = "\(image).copy"
    try? FileManager.default.removeItem(atPath: copy)
    try FileManager.default.copyItem(atPath: image, toPath: copy)
    return copy
  }

  /// The driver's fsck finds nothing, and the driver shows what the model has.
  private func expectSame(
    _ image: String, _ model: SubvolumeModel, _ comment: Comment
  ) throws {
    let outcome = try KernelGuest.check(images: [try copy(image)])
    #expect(outcome.complaints == [], comment)
    var seen: [String: String] = [:]
    for line in outcome.manifest {
      let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
      if fields.count > 9, fields[1] == "-" { seen[String(fields[0])] = String(fields[9]) }
    }
    // A manifest has no lost+found of the volume's root.
    let contents = model.contents.filter { !$0.key.hasPrefix("lost+found/") }
    #expect(Set(seen.keys) == Set(contents.keys), comment)
    for (path, bytes) in contents where seen[path] != nil {
      #expect(seen[path] == Self.digest(bytes), "\(comment): \(path)")
    }
  }

  private static func digest(_ bytes: [UInt8]) -> String {
    let digest = SHA256.digest(bytes.rawBytes)
    return digest.indices.map { (digest[$0] < 16 ? "0" : "") + String(digest[$0], radix: 16) }
      .joined()
  }

  @Test(arguments: [UInt64(1), 2])
  func theDriverShowsSubvolumesThatWereMadeHereAndFindsNothing(seed: UInt64) throws {
    try withTemporaryFolder { folder in
      let image = try format(folder)
      var files = try open(image, seed: seed)
      var model = SubvolumeModel(files, seed: seed)
      for round in 0..<4 {
        for _ in 0..<200 { _ = try model.step(files) }
        if round % 2 == 0 { try files.cleanSnapshots() }
        try files.close()
        try expectSame(image, model, "seed \(seed), round \(round)")
        files = try open(image, seed: seed + 7)
      }
      try files.close()
      #expect(model.snapshots > 10 && model.deletions > 10)
    }
  }

  /// As the volume is while it is cleaned up, closed or not.
  @Test(arguments: [true, false])
  func theDriverFindsNothingWhileSnapshotsAreCleanedUp(isClosed: Bool) throws {
    try withTemporaryFolder { folder in
      let image = try format(folder)
      var files = try open(image, seed: 5)
      let root = files.root
      func name(_ text: String) -> [UInt8] { Array(text.utf8) }
      let sub = try files.createSubvolume(
        name("sub"), in: root, FileCreation(.directory, permissions: 0o755)
      ).id
      for number in 0..<300 {
        let file = try files.create(
          name("file \(number)"), in: sub, FileCreation(.regular, permissions: 0o644))
        try files.write(file.id, [UInt8](repeating: 3, count: 6000).rawBytes, at: 0)
      }
      for number in 0..<3 {
        _ = try files.createSnapshot(of: sub.subvolume, as: name("snap \(number)"), in: root)
        for file in 0..<20 {
          let id = try files.lookup(name("file \(file * 3 + number)"), in: sub).id
          try files.write(id, [UInt8](repeating: 4, count: 6000).rawBytes, at: 2000)
        }
        try files.unlink(name("file \(250 + number)"), in: sub)
      }
      // The subvolume that the tree of snapshots names, and one in its middle.
      try files.deleteSubvolume(name("sub"), in: root)
      try files.deleteSubvolume(name("snap 1"), in: root)
      try files.sync()
      for round in 0..<60 {
        if try files.engine.snapshotPlan().isEmpty { break }
        var steps = 0
        try files.cleanSnapshots {
          steps += 1
          return steps > round * 3
        }
        if isClosed {
          try files.close()
        } else {
          try files.sync()
          files.engine.letGo()
          for device in files.engine.media.devices { try device?.close() }
        }
        let outcome = try KernelGuest.check(images: [try copy(image)])
        #expect(outcome.complaints == [], "round \(round)")
        #expect(outcome.manifest.count > 590, "round \(round)")
        files = try open(image, seed: UInt64(round))
      }
      #expect(try files.engine.snapshotPlan().isEmpty)
      try files.close()
      let outcome = try KernelGuest.check(images: [try copy(image)])
      #expect(outcome.complaints == [])
    }
  }

  private static let fill = """
    set -eu
    . "$JOB_GUEST/common.sh"
    mount_volume rw /mnt/a
    python3 "$JOB_GUEST/subvolume.py" create /mnt/a/sub
    python3 "$JOB_GUEST/mktree.py" /mnt/a/sub/tree --tiny --files 60
    python3 "$JOB_GUEST/subvolume.py" create /mnt/a/sub/inner
    for verb in snapshot snapshot-ro; do
      python3 "$JOB_GUEST/subvolume.py" $verb /mnt/a/sub /mnt/a/$verb
    done
    python3 "$JOB_GUEST/subvolume.py" snapshot /mnt/a/snapshot /mnt/a/second
    rm -r /mnt/a/second/tree
    mkdir /mnt/a/second/other
    umount /mnt/a
    """

  @Test func weGoOnWithWhatTheDriverMade() throws {
    try withTemporaryFolder { folder in
      let image = try format(folder)
      let filled = try KernelGuest.run(job: Self.fill, images: [image])
      #expect(filled.complaints == [])
      let before = try VolumeManifest(Volume.open(VolumeSources(paths: [image])))
        .lines(of: "sub/tree")
      let files = try open(image, seed: 4)
      func name(_ text: String) -> [UInt8] { Array(text.utf8) }
      let root = files.root
      let second = try files.lookup(name("second"), in: root).id
      _ = try files.createSnapshot(of: second.subvolume, as: name("third"), in: second)
      let sub = try files.lookup(name("sub"), in: root).id
      _ = try files.createSnapshot(of: sub.subvolume, as: name("fourth"), in: root)
      try files.deleteSubvolume(name("inner"), in: sub)
      for victim in ["snapshot", "sub"] { try files.deleteSubvolume(name(victim), in: root) }
      try files.cleanSnapshots()
      #expect(try files.engine.snapshotPlan().isEmpty)
      try files.close()
      let outcome = try KernelGuest.check(images: [try copy(image)])
      #expect(outcome.complaints == [])
      let volume = try Volume.open(VolumeSources(paths: [image]))
      #expect(try VolumeManifest(volume).lines(of: "fourth/tree") == before)
      #expect(try VolumeManifest(volume).lines(of: "snapshot-ro/tree") == before)
      let seen = try VolumeManifest(volume).lines(of: "")
      let difference = manifestDifference(
        expected: outcome.manifest.map(VolumeManifest.withoutData),
        seen: seen.map(VolumeManifest.withoutData))
      #expect(difference == [])
    }
  }
}
