// SPDX-License-Identifier: GPL-2.0

internal import Testing

@testable internal import Bcachefs

/// The value of a Linux ACL xattr: version, then (tag, permissions, id).
private func linuxACL(version: UInt32 = 2, _ entries: [(UInt16, UInt16, UInt32)]) -> [UInt8] {
  func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }
  return entries.reduce(bytes(version)) { $0 + bytes($1.0) + bytes($1.1) + bytes($1.2) }
}

struct PosixACLTests {
  private static let nobody = UInt32.max

  @Test func idsAreKeptOnlyForNamedUsersAndGroups() {
    let bytes = linuxACL([
      (0x01, 7, Self.nobody), (0x02, 4, 1000), (0x02, 6, 4_000_000_000), (0x04, 5, Self.nobody),
      (0x08, 1, 77), (0x10, 7, Self.nobody), (0x20, 0, Self.nobody),
    ])
    // `bch_acl_header`, then `bch_acl_entry_short` or `bch_acl_entry`.
    let expected: [UInt8] =
      [1, 0, 0, 0] + [1, 0, 7, 0] + [2, 0, 4, 0, 0xe8, 3, 0, 0] + [2, 0, 6, 0, 0, 0x28, 0x6b, 0xee]
      + [4, 0, 5, 0] + [8, 0, 1, 0, 77, 0, 0, 0] + [0x10, 0, 7, 0] + [0x20, 0, 0, 0]
    #expect(PosixACL.diskForm(ofLinux: bytes) == expected)
  }

  @Test func listWithoutEntriesIsItsVersion() {
    #expect(PosixACL.diskForm(ofLinux: linuxACL([])) == [1, 0, 0, 0])
  }

  @Test func whatIsNoListIsNotTakenForOne() {
    let list = linuxACL([(0x01, 7, Self.nobody)])
    #expect(PosixACL.diskForm(ofLinux: []) == nil)
    #expect(PosixACL.diskForm(ofLinux: Array(list.dropLast())) == nil)
    #expect(PosixACL.diskForm(ofLinux: list + [0]) == nil)
    #expect(PosixACL.diskForm(ofLinux: linuxACL(version: 3, [])) == nil)
    #expect(PosixACL.diskForm(ofLinux: linuxACL([(0x40, 7, 0)])) == nil)
  }
}
