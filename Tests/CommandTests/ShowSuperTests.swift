// SPDX-License-Identifier: GPL-2.0
// show-super: upstream's text, the backup copies, and that nothing is written.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@Suite struct ShowSuperTests {
  @Test(arguments: SampleVolume.fixtures)
  func volumeOfTheKernelIsShown(volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      for image in try volume.unpack(into: folder) {
        let before = try digest(image)
        let result = try bcachefs("show-super", "-l", "-f", "all", image)
        #expect(result.status == 0)
        #expect(result.standardError == "")
        let bytes = Array(try readFile(image)[4096..<4096 + (1 << 20)])
        let expected = try Superblock(decoding: bytes.rawBytes)
        let style = SuperblockTextStyle(sections: .all, layout: true)
        #expect(result.text == expected.text(device: "(reg file)", style: style))
        let json = try jsonObject(bcachefs("show-super", "--json", image))
        #expect(json["user_uuid"] as? String == expected.userUUID.description)
        #expect(try digest(image) == before)
      }
    }
  }

  @Test func sectionsAreChosen() throws {
    try withTemporaryFolder { folder in
      let image = try #require(SampleVolume.fixture("plain").unpack(into: folder).first)
      let usual = try bcachefs("show-super", image).text
      #expect(usual.contains("\nmembers_v2 (size"))
      #expect(!usual.contains("\nclean (size"))
      let clean = try bcachefs("show-super", "--fields=clean,ext", image).text
      #expect(clean.contains("\nclean (size"))
      #expect(clean.contains("\next (size"))
      #expect(!clean.contains("\nmembers_v2 (size"))
      let only = try bcachefs("show-super", "--field-only=members_v2", image).text
      #expect(only.hasPrefix("Device:"))
      #expect(!only.contains("External UUID"))
    }
  }

  /// A volume whose main superblock `damage` (a shell command) has spoilt.
  private func show(after damage: String, _ options: String = "") throws -> ProgramResult {
    try withTemporaryFolder { folder in
      try makeImage("\(folder)/v.img", mebibytes: 64)
      try bcachefs("format", "-q", "-L", "found", "v.img", folder: folder)
      let script = """
        spoil() { dd if=/dev/urandom of=v.img bs=512 seek=$1 count=$2 conv=notrunc status=none; }
        \(damage)
        before=$(sha256sum <v.img)
        "$BCACHEFS" show-super \(options) v.img
        status=$?
        [ "$before" = "$(sha256sum <v.img)" ] || exit 99
        exit $status
        """
      return try shell(script, folder: folder)
    }
  }

  @Test func damagedMainCopyFallsBackToTheLayoutsOthers() throws {
    let result = try show(after: "spoil 9 1")
    #expect(result.status == 0)
    #expect(result.text.contains("found"))
    #expect(result.standardError.contains("(sector 8) is bad: bch_sb.csum: bad checksum"))
    #expect(result.standardError.contains("backup copy at sector 2056, which the layout names"))
  }

  @Test func withoutALayoutTheCopiesAreSearchedFor() throws {
    let start = try show(after: "spoil 0 40")
    #expect(start.status == 0, "\(start.standardError)")
    #expect(start.standardError.contains("bad magic"))
    #expect(start.standardError.contains("sector 2056, which a search found"))
    let last = try show(after: "spoil 0 2100")
    #expect(last.status == 0, "\(last.standardError)")
    #expect(last.standardError.contains("sector 129024, which a search found"))
    #expect(last.text.contains("found"))
  }

  @Test func nothingToShowIsBadData() throws {
    let zeros = try show(after: "head -c 64M /dev/zero >v.img")
    #expect(zeros.status == 65)
    #expect(zeros.standardError.contains("no backup copy was found"))
    let tiny = try show(after: "printf hello >v.img")
    #expect(tiny.status == 65)
    let empty = try show(after: ": >v.img")
    #expect(empty.status == 65)
    let json = try show(after: "spoil 0 20", "--json")
    #expect(json.status == 0)
    #expect(try jsonObject(json)["label"] as? String == "found")
  }
}
