// SPDX-License-Identifier: GPL-2.0
// Entries of types that are not known are stepped over where the superblock says how long they are.

import BcachefsFormat
import BcachefsSupport
import Testing

struct ExtentEntrySizeTests {
  /// Devices of the pointers in an entry of type 9 of two words, one of type 11 of one, and a
  /// pointer behind each.
  private static func devices(_ section: [UInt8]) -> [UInt8] {
    let words: [UInt64] = [
      1 << 9, ~0, ExtentPtr(device: 1, offset: 800, generation: 2).word, 1 << 11,
      ExtentPtr(device: 2, offset: 900, generation: 3).word,
    ]
    var bytes: [UInt8] = []
    for word in words {
      for shift in UInt64(0)..<8 { bytes.append(UInt8(truncatingIfNeeded: word >> (shift * 8))) }
    }
    return devices(in: bytes.rawBytes, ExtentEntrySizes(section: section))
  }

  private static func devices(in bytes: RawSpan, _ sizes: ExtentEntrySizes) -> [UInt8] {
    var pointers = ExtentEntries(bytes, keySize: 8, sizes: sizes).pointers
    var found: [UInt8] = []
    while let pointer = pointers.next() { found.append(pointer.ptr.device) }
    return found
  }

  private static let known: [UInt8] = [1, 1, 2, 3, 1, 1, 1, 1, 1]

  @Test(
    arguments: [
      ([], []), (known, []), (known + [2], [1]), (known + [2, 5, 1], [1, 2]),
      // Longer than what is left; and a 0 that ends the list.
      (known + [6, 5, 1], []), (known + [0, 5, 1], []),
    ] as [([UInt8], [UInt8])])
  func pointersBehindUnknownEntriesAreFound(section: [UInt8], expected: [UInt8]) {
    let found = Self.devices(section)
    #expect(found == expected)
  }

  @Test func sizesAreThoseOfSection16() throws {
    let uuid = UUID(lo: 1, hi: 2)
    var superblock = Superblock(
      uuid: uuid, userUUID: uuid, layout: try SuperblockLayout(copySectors: [8], maxSizeBits: 11))
    #expect(superblock.extentEntrySizes == .none)
    superblock.setSection(
      .unknown(
        UnknownSection(
          type: SuperblockSectionType(rawValue: 16), contents: Self.known + [2, 1, 1, 4])))
    let bytes = try superblock.encode()
    let again = try Superblock(decoding: bytes.rawBytes)
    let sizes = (8...13).map { again.extentEntrySizes.u64s(ofType: $0) }
    #expect(sizes == [0, 2, 1, 1, 4, 0])
  }
}
