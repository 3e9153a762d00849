// SPDX-License-Identifier: GPL-2.0
// Trees that were changed here and by the driver: its fsck finds nothing, and both see the same.

internal import Bcachefs
internal import BcachefsSupport
internal import FileModel
internal import Foundation
internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct FileOperationTests {
  private func format(_ folder: String, _ options: [String] = []) throws -> String {
    let image = "\(folder)/volume.img"
    try runProgramOrThrow("truncate", ["-s", "256M", image])
    try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet"] + options + [image])
    return image
  }

  private func open(_ image: String, seed: UInt64) throws -> FileSystem {
    try FileSystem.open(VolumeSources(paths: [image]), FileSystemOptions(seed: seed))
  }

  /// The driver checks a copy, and shows what we do.
  ///
  /// - Parameter subfolder: Where both begin.
  private func expectSame(_ image: String, _ subfolder: String, _ comment: Comment) throws {
    let copy = "\(image).copy"
    try FileManager.default.copyItem(atPath: image, toPath: copy)
    defer { try? FileManager.default.removeItem(atPath: copy) }
    let outcome = try KernelGuest.check(images: [copy], subfolder: subfolder)
    #expect(outcome.complaints == [], comment)
    let volume = try Volume.open(VolumeSources(paths: [image]))
    let seen = try VolumeManifest(volume).lines(of: subfolder)
    let difference = manifestDifference(
      expected: outcome.manifest.map(VolumeManifest.withoutData),
      seen: seen.map(VolumeManifest.withoutData))
    #expect(difference == [], comment)
    #expect(outcome.manifest.count > 20, comment)
  }

  @Test(arguments: [
    ("siphash", UInt64(1), [String]()), ("crc32c, 64-bit numbers", 2, ["--str_hash=crc32c"]),
    ("crc64", 3, ["--str_hash=crc64", "--inodes_32bit=0", "--shard_inode_numbers=0"]),
  ])
  func theDriverFindsNothingInATreeThatWasChangedHere(
    name: String, seed: UInt64, options: [String]
  ) throws {
    try withTemporaryFolder { folder in
      let image = try format(folder, options)
      var files = try open(image, seed: seed)
      let top = try files.create(
        Array("top".utf8), in: files.root, FileCreation(.directory, permissions: 0o755)
      ).id
      var run = FileModelRun(top: top, seed: seed)
      for round in 0..<3 {
        for _ in 0..<1500 { try run.step(files) }
        if round == 1 { try run.letGoOfAll(files) }
        try run.letGoOfAll(files)
        try files.close()
        try expectSame(image, "top", "\(name), round \(round)")
        files = try open(image, seed: seed + UInt64(round))
        let differences = try run.differences(in: files, top: top)
        #expect(differences == [], "\(name), round \(round)")
      }
      try files.close()
    }
  }

  /// A tree of everything in the root, in a subvolume, and in snapshots of that.
  private static let fill = """
    set -eu
    . "$JOB_GUEST/common.sh"
    mount_volume rw /mnt/a
    python3 "$JOB_GUEST/mktree.py" /mnt/a/tree --tiny --files 60 --age 40
    python3 "$JOB_GUEST/subvolume.py" create /mnt/a/sub
    python3 "$JOB_GUEST/mktree.py" /mnt/a/sub/tree --tiny --files 60
    mkdir /mnt/a/sub/own
    python3 "$JOB_GUEST/subvolume.py" create /mnt/a/sub/inner
    for verb in snapshot snapshot-ro; do
      python3 "$JOB_GUEST/subvolume.py" $verb /mnt/a/sub /mnt/a/$verb
    done
    python3 "$JOB_GUEST/subvolume.py" snapshot /mnt/a/snapshot /mnt/a/second
    umount /mnt/a
    """

  /// Changes what the driver made, below folders that are seen from several snapshots.
  @Test(arguments: [UInt64(1), 2])
  func theDriverFindsNothingInItsTreesThatWereChangedHere(seed: UInt64) throws {
    try withTemporaryFolder { folder in
      let image = try format(folder)
      let filled = try KernelGuest.run(job: Self.fill, images: [image])
      #expect(filled.complaints == [])
      let before = try manifest(of: image, "snapshot-ro")
      var files = try open(image, seed: seed)
      let paths = ["tree", "sub/tree", "snapshot/tree", "second/tree"]
      var runs: [FileModelRun] = []
      for (index, path) in paths.enumerated() {
        runs.append(
          try FileModelRun(
            adopting: resolve(path, files), of: files, seed: seed &* 8 &+ UInt64(index)))
      }
      for round in 0..<2 {
        for _ in 0..<400 {
          for index in runs.indices { try runs[index].step(files) }
        }
        for index in runs.indices { try runs[index].letGoOfAll(files) }
        try files.close()
        for path in paths { try expectSame(image, path, "seed \(seed), round \(round), \(path)") }
        #expect(try manifest(of: image, "snapshot-ro") == before)
        files = try open(image, seed: seed + 9)
        for (index, path) in paths.enumerated() {
          let differences = try runs[index].differences(in: files, top: resolve(path, files))
          #expect(differences == [], "seed \(seed), round \(round), \(path)")
        }
      }
      try files.close()
    }
  }

  private func resolve(
    _ path: String, _ files: FileSystem
  ) throws(VolumeError) -> FileID {
    var id = files.root
    for part in path.split(separator: "/") { id = try files.lookup(Array(part.utf8), in: id).id }
    return id
  }

  private func manifest(of image: String, _ subfolder: String) throws -> [String] {
    try VolumeManifest(Volume.open(VolumeSources(paths: [image]))).lines(of: subfolder)
  }

  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  /// A subvolume's root is moved as the driver moves it; what is in one stays there.
  @Test func subvolumesMoveAndWhatIsInThemDoesNot() throws {
    try withTemporaryFolder { folder in
      let image = try format(folder)
      let filled = try KernelGuest.run(job: Self.fill, images: [image])
      #expect(filled.complaints == [])
      let files = try open(image, seed: 3)
      let (root, sub) = (files.root, try resolve("sub", files))
      let tree = try resolve("sub/tree", files)
      let snapshot = try resolve("snapshot", files)
      func expect(_ code: VolumeError.Code, _ body: () throws(VolumeError) -> Void) {
        do throws(VolumeError) {
          try body()
          Issue.record("done, though \(code)")
        } catch {
          #expect(error.code == code)
        }
      }
      expect(.crossSubvolume) { () throws(VolumeError) in
        try files.rename(name("tree"), in: sub, to: name("moved"), in: root)
      }
      expect(.crossSubvolume) { () throws(VolumeError) in
        try files.rename(name("tree"), in: root, to: name("own"), in: sub)
      }
      expect(.crossSubvolume) { () throws(VolumeError) in
        _ = try files.link(resolve("tree/sparse", files), as: name("x"), in: sub)
      }
      expect(.crossSubvolume) { () throws(VolumeError) in
        try files.rename(name("tree"), in: root, to: name("sub"), in: root)
      }
      expect(.loop) { () throws(VolumeError) in
        try files.rename(name("sub"), in: root, to: name("sub"), in: tree)
      }
      expect(.notFound) { () throws(VolumeError) in
        _ = try files.lookup(name("inner"), in: snapshot)
      }
      expect(.notEmpty) { () throws(VolumeError) in
        try files.removeDirectory(name("snapshot"), in: root)
      }
      let readOnly = try resolve("snapshot-ro", files)
      expect(.readOnly) { () throws(VolumeError) in
        _ = try files.create(
          name("x"), in: readOnly, FileCreation(.regular, permissions: 0o600))
      }
      // The name of `inner` is a key of an ancestor's snapshot, since `sub` has snapshots.
      try files.rename(name("inner"), in: sub, to: name("other"), in: sub)
      try files.rename(name("other"), in: sub, to: name("inner"), in: snapshot)
      try files.rename(name("second"), in: root, to: name("second"), in: sub)
      try files.rename(
        name("second"), in: sub, to: name("tree"), in: root, .exchange, expecting: .crossSubvolume)
      try files.rename(name("second"), in: sub, to: name("inner"), in: snapshot, .exchange)
      let inner = try files.lookup(name("inner"), in: snapshot)
      #expect(try files.parent(of: inner.id) == snapshot)
      try files.close()
      let copy = "\(image).whole"
      try FileManager.default.copyItem(atPath: image, toPath: copy)
      let outcome = try KernelGuest.check(images: [copy])
      #expect(outcome.complaints == [])
      let seen = Set(outcome.manifest.map { $0.split(separator: "\t")[0] })
      #expect(seen.contains("snapshot/inner/tree") && seen.contains("sub/second"))
      #expect(!seen.contains("second") && !seen.contains("sub/inner"))
      try expectSame(image, "sub", "sub")
    }
  }
}

extension FileSystem {
  /// A rename that is refused.
  fileprivate func rename(
    _ name: [UInt8], in parent: FileID, to newName: [UInt8], in newParent: FileID,
    _ flags: RenameFlags, expecting code: VolumeError.Code
  ) throws {
    do throws(VolumeError) {
      try rename(name, in: parent, to: newName, in: newParent, flags)
      Issue.record("done, though \(code)")
    } catch {
      #expect(error.code == code)
    }
  }
}
