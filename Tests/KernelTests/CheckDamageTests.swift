// SPDX-License-Identifier: GPL-2.0
// What is damaged is found: by our check under the error's number, and in the words that the driver
// has for the same.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

extension MetadataDamage {
  static let all = metadata + files + names + subvolumes
}

@Suite struct CheckDamageTests {
  /// Damages a volume, and closes it.
  private func damage(_ images: [String], _ damage: MetadataDamage) throws {
    let volume = try VolumeOpener.openForWriting(
      VolumeSources(paths: images), unlock: .keyring)
    let engine = try Engine.open(volume, EngineOptions(seed: 1))
    let isDone = try engine.run("test_damage") { (transaction) throws(TransactionError) in
      let isDone = try damage.apply(transaction)
      try transaction.commit()
      return isDone
    }
    try #require(isDone, "\(damage.fixture) has no such key")
    try engine.close()
    for device in engine.media.devices { try device?.close() }
  }

  private func findings(_ images: [String]) throws -> [CheckFinding] {
    let devices = try images.map { try BlockDevice.open(path: $0, mode: .readOnly) }
    defer { for device in devices { try? device.close() } }
    let volume = try Volume(media: VolumeOpener.open(devices: devices, unlock: .keyring))
    var findings: [CheckFinding] = []
    var events = CheckEvents()
    events.finding = { findings.append($0) }
    var options = CheckOptions()
    options.comparesFileCounters = true
    _ = try volume.check(options, events)
    return findings
  }

  /// Where we say more than the driver: after the first line.
  private static let toldAtLength: Set<FsckErrorID> = [
    .ptr_to_missing_backpointer, .stripe_sector_count_wrong, .inode_snapshot_mismatch, .dir_loop,
    .inode_unlinked_but_nlink_nonzero,
  ]

  @Test(arguments: MetadataDamage.all)
  func damageIsFound(_ damage: MetadataDamage) throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture(damage.fixture).unpack(into: folder)
      try self.damage(images, damage)
      let found = try findings(images)
      let texts = found.prefix(20).map { "\($0.pass) \($0.id): \($0.text)" }
      #expect(found.contains { $0.id == damage.expected }, "\(texts)")
      #expect(found.count < 16, "\(found.count): \(texts)")
      if let also = damage.also {
        #expect(Set(found.map(\.id)) == also.union([damage.expected]), "\(texts)")
      }
    }
  }

  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: MetadataDamage.all.filter(\.isKnownToDriver))
  func theDriverSaysTheSame(_ damage: MetadataDamage) throws {
    try withTemporaryFolder { folder in
      let images = try SampleVolume.fixture(damage.fixture).unpack(into: folder)
      try self.damage(images, damage)
      let all = try findings(images)
      let found = damage.also == nil ? all.filter { $0.id == damage.expected } : all
      let outcome = try KernelGuest.check(images: images, options: "fix_errors=yes")
      let said = outcome.complaints.joined(separator: "\n")
      for finding in found {
        let lines = finding.text.split(separator: "\n")
        let shared = Self.toldAtLength.contains(finding.id) ? lines.prefix(1) : lines[...]
        // An inode that the driver has just mended has another entry's number, and a new form.
        for words in shared
        where !words.hasPrefix("  journal_seq=") && !words.hasPrefix("  flags=") {
          #expect(said.contains(words), "\(words)\n\(said)")
        }
      }
    }
  }
}
