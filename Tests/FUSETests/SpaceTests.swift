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

  /// The kernel keeps attributes, and what a file takes shows only when it is written. A file that
  /// seems to take nothing is a hole to some, and tar would leave out what is in it.
  @Test func whatIsWrittenTakesRoomAtOnceAndWhatItTakesIsShown() throws {
    try withTemporaryFolder { folder in
      let setting = ChangingMountTests.Setting.all[1]
      let images = try setting.format(in: folder)
      let mount = try setting.mount(images, isChanged: true)
      let result = try mount.shell(
        """
        for size in 3000 5000 100000 3000000; do
          : >$size
          [ $(stat -c %b $size) = 0 ]
          yes | head -c $size >$size
          [ $(stat -c %b $size) != 0 ] || echo $size
          head -c $size /dev/urandom >random-$size
          [ $(stat -c %b random-$size) != 0 ] || echo random-$size
        done
        sync -f .
        stat -c %b * >/dev/null
        sleep 1.5
        stat -c '%n %b' [0-9]* random*
        """)
      #expect(result.status == 0, "\(result.standardError)")
      try mount.end()
      let again = try setting.mount(images, isChanged: false)
      #expect(try again.shell("stat -c '%n %b' [0-9]* random*").text == result.text)
      try again.end()
    }
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
