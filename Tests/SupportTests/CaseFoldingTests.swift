// SPDX-License-Identifier: GPL-2.0
// Folded names are those that Linux makes: expected bytes are of Unicode 12.1.0's files, read by
// hand or computed by Linux's own fs/unicode.

internal import BcachefsSupport
internal import Testing

struct CaseFoldingTests {
  private func fold(_ text: String) -> String? {
    CaseFolding.fold(Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Scalars, so that what they are equivalent to does not hide a difference.
  private func scalars(_ text: String?) -> [UInt32] {
    text.map { $0.unicodeScalars.map(\.value) } ?? []
  }

  @Test(
    arguments: [
      ("README.TXT", [0x72, 0x65, 0x61, 0x64, 0x6d, 0x65, 0x2e, 0x74, 0x78, 0x74]),
      ("[@`{", [0x5b, 0x40, 0x60, 0x7b]),
      // Decompositions, and folding of what they are made of.
      ("\u{c4}", [0x61, 0x308]), ("A\u{308}", [0x61, 0x308]), ("\u{212b}", [0x61, 0x30a]),
      ("\u{1e9e}", [0x73, 0x73]), ("\u{df}", [0x73, 0x73]), ("\u{fb03}", [0x66, 0x66, 0x69]),
      ("\u{130}", [0x69, 0x307]), ("\u{149}", [0x2bc, 0x6e]),
      // Iota subscript is a letter when it is folded, so marks do not pass it.
      ("\u{1f80}", [0x3b1, 0x313, 0x3b9]), ("\u{3b1}\u{345}\u{313}", [0x3b1, 0x3b9, 0x313]),
      // Cherokee folds to capitals.
      ("\u{ab70}", [0x13a0]), ("\u{10400}", [0x10428]),
      // Marks of different classes change places; those of one class do not.
      ("a\u{301}\u{323}", [0x61, 0x323, 0x301]), ("a\u{301}\u{300}", [0x61, 0x301, 0x300]),
      // What is ignorable vanishes, and keeps marks apart all the same.
      ("a\u{ad}b", [0x61, 0x62]), ("a\u{301}\u{200d}\u{323}", [0x61, 0x301, 0x323]),
      ("\u{e0fff}\u{2065}", []),
      // Hangul, with and without a final consonant.
      ("\u{ac00}", [0x1100, 0x1161]), ("\u{d7a3}", [0x1112, 0x1175, 0x11c2]),
      // A compatibility ideograph; fractions and wide letters decompose by compatibility only.
      ("\u{f900}", [0x8c48]), ("\u{bd}", [0xbd]), ("\u{ff21}", [0xff41]),
      // Letters and a mark that Unicode 13 and 14 brought are not known to Linux.
      ("\u{a7c7}", [0xa7c7]), ("\u{10570}", [0x10570]),
      ("b\u{301}\u{1dfa}", [0x62, 0x301, 0x1dfa]),
      ("\u{180f}", [0x180f]),
    ] as [(String, [UInt32])])
  func everySpellingFoldsAsLinuxFoldsIt(text: String, expected: [UInt32]) {
    let folded = fold(text)
    #expect(scalars(folded) == expected)
  }

  @Test(
    arguments: [
      [0xff], [0x61, 0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82],
    ] as [[UInt8]])
  func invalidTextHasNoFoldedForm(bytes: [UInt8]) {
    #expect(CaseFolding.fold(bytes) == nil)
  }

  /// All that fold or sort, with many that do not; a few of the Hangul syllables.
  private static let characters: [UInt32] = [
    1..<0x3400, 0xa000..<0xac20, 0xd7a0..<0xd800, 0xf900..<0x1_7000, 0x1_b000..<0x2_0000,
    0x2_f800..<0x2_fa20, 0xe_0000..<0xe_1000,
  ].flatMap(Array.init)

  /// The whole table: lengths and CRC-32C of what Linux's own code made of all characters.
  @Test(
    arguments: [
      ("", 397_111, 0x3dd0_42d3),
      // Marks of classes on either side of those of these two change places with them.
      ("\u{323}a\u{301}", 1_010_507, 0x4c8f_772f),
    ] as [(String, Int, UInt32)])
  func allCharactersFoldAsInLinux(
    between: String, byteCount: Int, crc: UInt32
  ) {
    var all: [UInt8] = []
    for code in Self.characters {
      guard let scalar = Unicode.Scalar(code) else { continue }
      let second = between.isEmpty ? "" : "\(scalar)"
      all += CaseFolding.fold(Array("a\(scalar)\(between)\(second)a".utf8)) ?? []
    }
    #expect(all.count == byteCount)
    #expect(~CRC32C.update(~0, all.rawBytes) == crc)
  }
}
