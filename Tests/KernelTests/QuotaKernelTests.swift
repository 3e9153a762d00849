// SPDX-License-Identifier: GPL-2.0
// Quotas with the driver on the other side: what one counts and limits the other counts and
// enforces.

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct QuotaKernelTests {
  private static let mount = """
    set -eu
    mount -t bcachefs -o usrquota,grpquota,prjquota /dev/ubda /mnt/a
    quota() { python3 "$JOB_GUEST/quota.py" "$@"; }
    """

  /// What quota.py prints of a volume.
  private func lines(_ reports: [QuotaReport]) -> [String] {
    reports.flatMap { report in
      let name = report.type.word
      return report.entries.map { entry in
        let limits = entry.limits
        return "\(name) \(entry.id) \(entry.usedSectors) \(entry.usedInodes) "
          + "\(limits.spaceHardLimit) \(limits.spaceSoftLimit) "
          + "\(limits.inodeHardLimit) \(limits.inodeSoftLimit)"
      } + ["\(name) grace \(report.grace.space.timeLimit) \(report.grace.inodes.timeLimit)"]
    }
  }

  private func read(_ image: String) throws -> [String] {
    lines(try Volume.open(VolumeSources(paths: [image])).quotaReports())
  }

  private func open(_ image: String) throws -> FileSystem {
    var options = FileSystemOptions(seed: 1)
    for option in [VolumeOption.usrquota, .grpquota, .prjquota] { options.volume[option] = 1 }
    return try FileSystem.open(VolumeSources(paths: [image]), options)
  }

  @Test(
    .enabled(
      if: SampleVolume.corpus.contains { $0.name == "quota" }, "\(SampleVolume.corpusMissing)"))
  func aVolumeOfTheDriversIsCountedAsTheDriverDoes() throws {
    try withTemporaryFolder { folder in
      let sample = try #require(SampleVolume.corpus.first { $0.name == "quota" })
      let image = try #require(try sample.unpack(into: folder).first)
      let outcome = try KernelGuest.run(
        job: "\(Self.mount)\nquota report /mnt/a\numount /mnt/a", images: [image])
      #expect(outcome.complaints == [])
      #expect(outcome.lines == (try read(image)))
      #expect(outcome.lines.count > 6)
    }
  }

  @Test(arguments: ["plain", "snapshots"])
  func limitsOfTheDriverAreEnforcedAndReported(fixture: String) throws {
    try withTemporaryFolder { folder in
      let image = try #require(try SampleVolume.fixture(fixture).unpack(into: folder).first)
      let outcome = try KernelGuest.run(
        job: """
          \(Self.mount)
          mkdir -m 777 /mnt/a/w
          quota set /mnt/a user 1000 400 100 3 2
          quota set /mnt/a group 1000 0 0 7 0
          quota set /mnt/a project 0 1000000 0 0 0
          quota grace /mnt/a user 77 88
          quota fill /mnt/a/w 1000 160
          rm /mnt/a/w/f0
          quota report /mnt/a
          umount /mnt/a
          """, images: [image])
      #expect(outcome.complaints == [])
      #expect(outcome.lines.first == "3 80 EDQUOT")
      let expected = Array(outcome.lines.dropFirst())
      #expect(expected.contains("user 1000 240 2 400 100 3 2"))
      #expect(try read(image) == expected)
      let files = try open(image)
      #expect(lines(files.quotaReports()) == expected)
      let parent = try files.resolve("w").id
      var creation = FileCreation(.regular, permissions: 0o644)
      (creation.uid, creation.gid) = (1000, 1000)
      let made = try files.create(
        Array("g0".utf8), in: parent, creation, quotas: .enforced)
      let bytes = [UInt8](repeating: 1, count: 160 * 512)
      try files.write(made.id, bytes.rawBytes, at: 0, quotas: .enforced)
      for (name, isWrite) in [("g1", false), ("g0", true)] {
        do throws(VolumeError) {
          if isWrite {
            try files.write(made.id, bytes.rawBytes, at: 160 * 512, quotas: .enforced)
          } else {
            _ = try files.create(Array(name.utf8), in: parent, creation, quotas: .enforced)
          }
          Issue.record("\(name) was not refused")
        } catch {
          #expect(error.code == .quotaExceeded)
        }
      }
      try files.close()
      let after = try KernelGuest.run(
        job: "\(Self.mount)\nquota report /mnt/a\numount /mnt/a", images: [image])
      #expect(after.complaints == [])
      #expect(after.lines == lines(files.quotaReports()))
      #expect(try KernelGuest.check(images: [image]).complaints == [])
    }
  }

  @Test func limitsOfOursAreWhatTheDriverEnforces() throws {
    try withTemporaryFolder { folder in
      let image = try #require(try SampleVolume.fixture("plain").unpack(into: folder).first)
      let files = try open(image)
      try files.setQuota(.usr, of: 1000) { ($0.spaceHardLimit, $0.inodeHardLimit) = (400, 3) }
      try files.setQuota(.grp, of: 5) { ($0.spaceSoftLimit, $0.inodeSoftLimit) = (8, 9) }
      try files.setQuota(.prj, of: 0) { $0.spaceHardLimit = 1 << 40 }
      try files.setQuotaGrace(.grp, space: 3600, inodes: 60)
      var creation = FileCreation(.regular, permissions: 0o600)
      (creation.uid, creation.gid) = (1000, 5)
      let made = try files.create(
        Array("ours".utf8), in: files.root, creation, quotas: .enforced)
      let bytes = [UInt8](repeating: 1, count: 160 * 512)
      try files.write(made.id, bytes.rawBytes, at: 0, quotas: .enforced)
      try files.close()
      let outcome = try KernelGuest.run(
        job: """
          \(Self.mount)
          quota report /mnt/a
          mkdir -m 777 /mnt/a/w
          quota fill /mnt/a/w 1000 160
          umount /mnt/a
          """, images: [image])
      #expect(outcome.complaints == [])
      #expect(Array(outcome.lines.dropLast()) == lines(files.quotaReports()))
      // With the 160 sectors that are there, 160 and 80 more.
      #expect(outcome.lines.last == "2 80 EDQUOT")
      #expect(try read(image).contains("user 1000 400 3 400 0 3 0"))
      #expect(try KernelGuest.check(images: [image]).complaints == [])
    }
  }
}
