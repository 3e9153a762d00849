// SPDX-License-Identifier: GPL-2.0
// The judge itself on trial: what it must find silent, and what it must not.

internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct HarnessTests {
  @Test(arguments: SampleVolume.fixtures)
  func fixtureIsSoundAndReadsAsItsManifest(volume: SampleVolume) throws {
    try expectSound(volume)
  }

  @Test(
    .enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"),
    arguments: SampleVolume.corpus)
  func corpusVolumeIsSoundAndReadsAsItsManifest(volume: SampleVolume) throws {
    try expectSound(volume)
  }

  @Test(arguments: SampleVolume.fixtures)
  func fixtureStaysSoundWhenLinuxChangesIt(volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try volume.unpack(into: folder)
      let round = try KernelGuest.readWriteRound(images: images, passphrase: volume.passphrase)
      #expect(round.complaints == [], "\(round.log)")
      // something was changed, and everything was added
      let difference = manifestDifference(expected: try volume.manifest(), seen: round.manifest)
      #expect(difference.contains { $0.hasPrefix("- ") })
      for name in ["added-by-linux", "subvolume-by-linux", "snapshot-ro-by-linux"] {
        #expect(round.manifest.contains { $0.hasPrefix("\(name)\t") })
      }
    }
  }

  @Test func flippedByteInANodeIsAComplaint() throws {
    let outcome = try checkAfterReplacing("three names\n", with: "three n\u{1}mes\n", in: "plain")
    #expect(outcome.complaints.contains { $0.contains("checksum") }, "\(outcome.log)")
  }

  @Test func wrongNameInAnUncheckedNodeIsAFindingOfFsck() throws {
    // metadata has no checksums there: only fsck can see that the name's hash does not fit
    let outcome = try checkAfterReplacing("other2", with: "Other2", in: "unchecked")
    #expect(outcome.complaints.contains { $0.contains("hash") }, "\(outcome.log)")
  }

  @Test func imageOfNothingFailsToMount() throws {
    try withTemporaryFolder { folder in
      try writeFile("\(folder)/zeros.img", [UInt8](repeating: 0, count: 1 << 20))
      let outcome = try KernelGuest.check(images: ["\(folder)/zeros.img"])
      #expect(outcome.status != 0)
      #expect(outcome.complaints != [])
    }
  }

  @Test func wrongPassphraseFailsToMount() throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture("encrypted").unpack(into: folder)
      let outcome = try KernelGuest.check(images: images, passphrase: "battery staple")
      #expect(outcome.complaints.contains { $0.contains("incorrect encryption key") })
    }
  }

  @Test func jobsOutputStatusAndWordsArePassedThrough() throws {
    let outcome = try KernelGuest.run(
      job: "echo \"$JOB_WORD\"; echo aside >&2; uname -r; exit 7", images: [],
      environment: ["JOB_WORD": "two words; $(not run)"])
    #expect(outcome.status == 7)
    #expect(outcome.manifest.first == "two words; $(not run)")
    #expect(outcome.manifest.last?.hasPrefix("6.12.") == true)
    #expect(outcome.result.standardError == "aside\n")
  }

  @Test func jobThatHangsIsEnded() throws {
    let outcome = try KernelGuest.run(job: "sleep 1000", images: [], timeoutSeconds: 3)
    #expect(outcome.status == 124)
  }

  private func expectSound(_ volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try volume.unpack(into: folder)
      let outcome = try KernelGuest.check(images: images, passphrase: volume.passphrase)
      #expect(outcome.complaints == [])
      #expect(manifestDifference(expected: try volume.manifest(), seen: outcome.manifest) == [])
    }
  }

  /// Checks a fixture in which every `old` on its first device has become `new`.
  private func checkAfterReplacing(
    _ old: String, with new: String, in fixture: String
  ) throws -> KernelGuest.Outcome {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture(fixture).unpack(into: folder)
      // perl's own in-place edit: the image stays as long as it is
      let result = try runProgramOrThrow(
        "perl", ["-0777", "-pi", "-e", "s/\\Q$ENV{OLD}\\E/$ENV{NEW}/g"] + images,
        environment: ["OLD": old, "NEW": new])
      #expect(result.standardError == "")
      return try KernelGuest.check(images: images)
    }
  }
}

@Suite struct KernelLogTests {
  @Test func messagesOfAHealthyVolumeAreNoComplaints() {
    let log = KernelLog(
      """
      Booting noise: error
      Run /guest/init as init process
      job: check
      bcachefs (ubda): starting version 1.13: inode_has_child_snapshots opts=ro,fsck
      bcachefs (ubda): recovering from clean shutdown, journal seq 39
      bcachefs (c7e4): check_extents_to_backpointers... done
      bcachefs (ubda): shutdown complete, journal seq 42

      reboot: Power down
      """)
    #expect(log.complaints == [])
    #expect(log.lines.first == "job: check")
  }

  @Test(arguments: [
    "bcachefs (ubda): check_nlinks...inode 4097 has wrong i_nlink (type 8 i_nlink 2, should be 1)",
    "bcachefs (ubda): check_nlinks...",
    "bcachefs (ubda): going read-write, not",
    "bcachefs: bch2_fs_get_tree() error: EINVAL",
    "  u64s 7 type dirent 4096:12:U32_MAX len 0 ver 0: f -> 4097 type reg, not fixing",
    "bcachefs (ubda): fixed 3 errors... done",
    "WARNING: CPU: 0 PID: 20 at fs/bcachefs/btree_iter.c:1",
  ])
  func anyOtherMessageIsAComplaint(line: String) {
    #expect(KernelLog(line).complaints == [line])
  }
}
