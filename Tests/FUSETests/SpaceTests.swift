// SPDX-License-Identifier: GPL-2.0
// What df shows equals what it shows of the same volume in the driver's mount.

internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct SpaceTests {
  /// Block size, blocks, free, available, free inodes, longest name. The driver has its count of
  /// inodes only once it has changed some.
  private static let fields = "%S %s %b %f %a %d %l"

  @Test(
    .enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"),
    arguments: (SampleVolume.fixtures + SampleVolume.corpus).filter { $0.passphrase == nil })
  func statfsEqualsTheDrivers(_ volume: SampleVolume) throws {
    try withImages(of: volume) { images in
      var seen = try space(images)
      let devices = images.indices.map { "/dev/ubd\(Character(UnicodeScalar(UInt8(97 + $0))))" }
      let outcome = try KernelGuest.run(
        job: """
          mount -t bcachefs -o ro \(devices.joined(separator: ":")) /mnt/a &&
            stat -f -c '\(Self.fields)' /mnt/a && umount /mnt/a
          """, images: images)
      #expect(outcome.status == 0, "\(outcome.result.standardError)")
      // Where the driver replays a journal it may need a btree node more: then what it left counts.
      if volume.name == "unclean" { seen = try space(images) }
      #expect(seen == outcome.result.text)
    }
  }

  private func space(_ images: [String]) throws -> String {
    try MountedVolume(images).shell("stat -f -c '\(Self.fields)' .").text
  }

  @Test func inodesInUseAreThoseOfTheTree() throws {
    try withImages(of: SampleVolume.fixture("plain")) { images in
      let result = try MountedVolume(images).shell(
        "echo $(($(stat -f -c '%c - %d' .))) $(find . -printf '%i\\n' | sort -u | wc -l)")
      let numbers = result.text.split(whereSeparator: \.isWhitespace)
      #expect(numbers.count == 2 && numbers[0] == numbers[1], "\(result.text)")
    }
  }
}
