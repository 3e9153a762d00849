// SPDX-License-Identifier: GPL-2.0
// What a mount shows equals what the driver showed, and nothing is written.

internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct MountTests {
  /// What differs from the manifest, a few lines of it.
  private func differences(
    _ volume: SampleVolume, _ images: [String], options: String = ""
  ) throws -> [String] {
    let mount = try MountedVolume(images, options: options, passphrase: volume.passphrase)
    let seen = Set(try mount.manifest())
    let expected = Set(try volume.manifest())
    let lost = expected.subtracting(seen).sorted().map { "lost: \($0)" }
    let made = seen.subtracting(expected).sorted().map { "made: \($0)" }
    return Array((lost + made).prefix(20))
  }

  @Test(arguments: SampleVolume.fixtures)
  func mountShowsWhatTheDriverShowedAndWritesNothing(_ volume: SampleVolume) throws {
    try expectAll(of: volume)
  }

  @Test(
    .enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"),
    arguments: SampleVolume.corpus)
  func mountShowsWhatTheDriverShowedOfTheCorpus(_ volume: SampleVolume) throws {
    try expectAll(of: volume)
  }

  @Test(
    .enabled(if: !SampleVolume.newest.isEmpty, "\(SampleVolume.newestMissing)"),
    arguments: SampleVolume.newest)
  func mountShowsWhatTheNewestFormatWasBuiltFrom(_ volume: SampleVolume) throws {
    try expectAll(of: volume)
  }

  private func expectAll(of volume: SampleVolume) throws {
    try withImages(of: volume) { images in
      let before = try digests(images)
      #expect(try differences(volume, images) == [])
      #expect(try digests(images) == before)
    }
  }

  /// Volumes that keep everything without any one of their devices, and that device's number.
  private static let redundant = (SampleVolume.fixtures + SampleVolume.corpus).filter {
    ["replicas", "ec", "stripes"].contains($0.name)
  }.flatMap { volume in volume.images.indices.map { (volume, $0) } }

  @Test(arguments: redundant)
  func nothingIsMissingWithoutAnyOneDevice(_ volume: SampleVolume, _ missing: Int) throws {
    try withImages(of: volume) { images in
      var rest = images
      rest.remove(at: missing)
      #expect(!mounts(rest))
      let found = try differences(volume, rest, options: "degraded")
      #expect(found == [])
    }
  }

  @Test(arguments: redundant)
  func nothingIsMissingWithNoiseOnAnyOneDevice(_ volume: SampleVolume, _ noisy: Int) throws {
    try withImages(of: volume) { images in
      try withTemporaryFolder { folder in
        for seed in UInt64(1)...2 {
          var hurt = images
          hurt[noisy] = "\(folder)/noisy"
          try Noise.copy(
            images[noisy], to: hurt[noisy], seed: seed * 16 + UInt64(noisy), places: 1000)
          let found = try differences(volume, hurt, options: "degraded")
          #expect(found == [], "seed \(seed), device \(noisy)")
        }
      }
    }
  }

  private func mounts(_ images: [String]) -> Bool {
    do {
      _ = try MountedVolume(images)
      return true
    } catch {
      return false
    }
  }

  @Test func manyReadersSeeTheSameBytes() throws {
    let volume = try SampleVolume.fixture("compressed")
    try withImages(of: volume) { images in
      let mount = try MountedVolume(images)
      // Everybody reads everything at once, each from another place on, half of them past the
      // cache.
      let result = try mount.python(
        """
        import hashlib, mmap, os, sys, threading
        root = os.environ["MOUNT"]
        files = sorted(os.path.join(d, f) for d, _, names in os.walk(root) for f in names)
        files = [f for f in files if os.path.isfile(f) and not os.path.islink(f)]
        files = [f for f in files if os.path.getsize(f) < 8 << 20]
        def digest(path, direct):
            h, fd = hashlib.sha256(), os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
            buffer = mmap.mmap(-1, 1 << 17)
            while n := os.readv(fd, [buffer]):
                h.update(buffer[:n])
            os.close(fd)
            return h.hexdigest()
        seen = [{} for _ in range(8)]
        def read(k):
            start = len(files) * k // 8
            for f in files[start:] + files[:start]:
                seen[k][f] = digest(f, k % 2)
        threads = [threading.Thread(target=read, args=(k,)) for k in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert len(files) > 20, len(files)
        print(all(len(s) == len(files) and s == seen[0] for s in seen))
        """)
      #expect(result.standardError == "")
      #expect(result.text == "True\n")
      let seen = Set(try mount.manifest())
      #expect(Set(try volume.manifest()).subtracting(seen) == [])
    }
  }

  @Test func holesAndDataAreFound() throws {
    try withImages(of: SampleVolume.fixture("plain")) { images in
      let mount = try MountedVolume(images)
      let result = try mount.python(
        """
        import errno, os
        fd = os.open(os.environ["MOUNT"] + "/tree/sparse", os.O_RDONLY)
        size, at, data, holes = os.fstat(fd).st_size, 0, 0, 0
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as e:
                assert e.errno == errno.ENXIO
                start = size
            assert start >= at
            # The file is larger than any disk: looks at both ends of a hole.
            for place in at, max(at, start - (1 << 20)):
                part = os.pread(fd, min(1 << 20, start - place), place)
                assert not part.strip(b"\\0"), "a hole holds data"
            holes += start - at
            if start == size: break
            end = os.lseek(fd, start, os.SEEK_HOLE)
            assert end > start and os.lseek(fd, start, os.SEEK_DATA) == start
            data, at = data + end - start, end
        assert data + holes == size
        for whence in os.SEEK_DATA, os.SEEK_HOLE:
            try:
                os.lseek(fd, size, whence)
                assert False, "there is nothing at the end"
            except OSError as e:
                assert e.errno == errno.ENXIO
        print(data > 0, holes > data)
        """)
      #expect(result.standardError == "")
      #expect(result.text == "True True\n")
    }
  }

  @Test func missingNamesStayMissingAndNothingCanBeChanged() throws {
    try withImages(of: SampleVolume.fixture("plain")) { images in
      let mount = try MountedVolume(images)
      let result = try mount.shell(
        """
        stat nothing 2>&1; stat nothing 2>&1; cat tree 2>&1; ls tree/links/sym/ 2>&1
        : >tree/new 2>&1; echo x >>tree/links/origin; rm -f tree/links/origin; touch tree
        stat -f -c '%S %l' .
        """)
      let text = result.text + result.standardError
      #expect(text.contains("stat: cannot statx 'nothing': No such file or directory"))
      #expect(text.contains("cat: tree: Is a directory"))
      #expect(text.contains("tree/links/sym/"))
      for name in ["tree/new", "tree/links/origin", "'tree'"] {
        let lines = text.split(separator: "\n").filter { $0.contains(name) }
        #expect(lines.contains { $0.contains("Read-only") }, "\(name): \(lines)")
      }
    }
  }

  @Test(.enabled(if: FUSESupport.isRoot, "other users are only root's to be"))
  func accessControlListsDecideWhoReads() throws {
    try withImages(of: SampleVolume.fixture("plain")) { images in
      let mount = try MountedVolume(images)
      // The list lets user 1000 read; its mode lets only root and root's group.
      let result = try mount.shell(
        """
        for user in 1000 1001; do
          setpriv --reuid $user --regid $user --clear-groups cat tree/acls/file >/dev/null 2>&1
          echo $user $?
        done
        """)
      #expect(result.text == "1000 0\n1001 1\n")
    }
  }

  @Test func subvolumesCanBeTheRoot() throws {
    let volume = try SampleVolume.fixture("snapshots")
    try withImages(of: volume) { images in
      let mount = try MountedVolume(images, options: "subvol=read-only")
      let prefix = "read-only/"
      let expected = try volume.manifest().filter { $0.hasPrefix(prefix) }
        .map { String($0.dropFirst(prefix.count)) }
      #expect(expected.count > 10)
      #expect(try mount.manifest().sorted() == expected.sorted())
    }
  }

  @Test func aFileAndItsSnapshotHaveDifferentNumbers() throws {
    try withImages(of: SampleVolume.fixture("snapshots")) { images in
      let mount = try MountedVolume(images)
      let result = try mount.shell("find . -printf '%i %y %p\\n'; ls -ai read-only")
      #expect(result.standardError == "")
      var names: [Substring: [Substring]] = [:]
      for line in result.text.split(separator: "\n") {
        let fields = line.split(separator: " ", maxSplits: 2)
        if fields.count == 3, fields[1] == "d" { names[fields[0], default: []].append(fields[2]) }
      }
      #expect(names.count > 10)
      #expect(names.values.allSatisfy { $0.count == 1 })
    }
  }
}
