// SPDX-License-Identifier: GPL-2.0
// The two lists of a volume's devices. `members_v2` is the one that counts; `members_v1` is kept in
// step with it, cut to 56 bytes a device, for old programs.

/// Devices as fixed structures of 56 bytes (`struct bch_sb_field_members_v1`).
public struct MembersV1Section: SuperblockSectionContents {
  public enum Layout {
    public static let firstMember = 8
  }

  public static let type = SuperblockSectionType.membersV1
  /// By device index, `nr_devices` of them.
  public var members: [Member]
  /// What follows the members.
  public let slack: [UInt8]

  public init(members: [Member]) {
    self.members = members
    slack = []
  }

  /// - Throws: `.truncated` when there is no room for `deviceCount` members.
  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    let end = Layout.firstMember + deviceCount * Member.v1ByteCount
    try Self.require(bytes, end, "bch_sb_field_members_v1")
    (members, slack) = MemberList.decode(
      bytes, from: Layout.firstMember, memberByteCount: Member.v1ByteCount, count: deviceCount)
  }

  public func encode() -> [UInt8] {
    Self.finishedSection(
      Self.blank(Layout.firstMember)
        + members.flatMap { $0.encode(byteCount: Member.v1ByteCount) } + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    try MemberList.validate(members, in: superblock, "bch_sb_field_members_v1")
  }
}

/// Devices as structures whose size stands in the section (`struct bch_sb_field_members_v2`).
public struct MembersV2Section: SuperblockSectionContents {
  public enum Layout {
    public static let memberBytes = LEField<UInt16>(8)
    /// 6 bytes.
    public static let reserved = 10
    public static let firstMember = 16
  }

  public static let type = SuperblockSectionType.membersV2
  /// Size of each member on disk; 144 in version 1.13.
  public let memberByteCount: UInt16
  /// Bytes 10 to 15.
  public let reserved: [UInt8]
  /// By device index, `nr_devices` of them.
  public var members: [Member]
  /// What follows the members.
  public let slack: [UInt8]

  /// A list for version 1.13. Members that know more than its 144 bytes keep it: all get the room
  /// of the largest.
  public init(members: [Member]) {
    let tail = members.map(\.tail.count).max() ?? 0
    memberByteCount = UInt16(clamping: Member.Layout.byteCount + tail)
    reserved = [UInt8](repeating: 0, count: 6)
    self.members = members
    slack = []
  }

  /// - Throws: `.truncated` when there is no room for `deviceCount` members.
  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    try Self.require(bytes, Layout.firstMember, "bch_sb_field_members_v2")
    memberByteCount = bytes[Layout.memberBytes]
    reserved = bytes.copyOfBytes(in: Layout.reserved..<Layout.firstMember)
    let end = Layout.firstMember + deviceCount * Int(memberByteCount)
    try Self.require(bytes, end, "bch_sb_field_members_v2")
    (members, slack) = MemberList.decode(
      bytes, from: Layout.firstMember, memberByteCount: Int(memberByteCount), count: deviceCount)
  }

  public func encode() -> [UInt8] {
    var out = Self.blank(Layout.firstMember)
    out.put(memberByteCount, Layout.memberBytes)
    out.put(bytes: reserved, at: Layout.reserved)
    out += members.flatMap { $0.encode(byteCount: Int(memberByteCount)) } + slack
    return Self.finishedSection(out)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    try MemberList.validate(members, in: superblock, "bch_sb_field_members_v2")
  }
}

private enum MemberList {
  static func decode(
    _ bytes: RawSpan, from start: Int, memberByteCount: Int, count: Int
  ) -> (members: [Member], slack: [UInt8]) {
    var members: [Member] = []
    members.reserveCapacity(count)
    for index in 0..<count {
      let first = start + index * memberByteCount
      members.append(Member(decoding: bytes.extracting(first..<first + memberByteCount)))
    }
    return (members, bytes.copyOfBytes(from: start + count * memberByteCount))
  }

  /// - Source: `validate_member`, sb-members.c.
  static func validate(
    _ members: [Member], in superblock: Superblock, _ structure: StaticString
  ) throws(FormatError) {
    let count = Int(superblock.deviceCount)
    guard members.count == count else {
      throw FormatError(
        .inconsistent, structure, "members", found: UInt64(members.count), expected: UInt64(count))
    }
    for member in members {
      guard member.bucketCount <= Member.maxBucketCount else {
        throw FormatError(
          .tooLarge, structure, "nbuckets", found: member.bucketCount,
          expected: Member.maxBucketCount)
      }
      let least = UInt64(member.firstBucket) + Member.minBucketCount
      guard member.bucketCount >= least else {
        throw FormatError(
          .tooSmall, structure, "nbuckets", found: member.bucketCount, expected: least)
      }
      let bucketSize = UInt64(member.bucketSizeSectors)
      guard bucketSize >= UInt64(superblock.blockSizeSectors) else {
        throw FormatError(
          .tooSmall, structure, "bucket_size", found: bucketSize,
          expected: UInt64(superblock.blockSizeSectors))
      }
      let nodeSize = superblock[Superblock.Layout.btreeNodeSize]
      guard bucketSize >= nodeSize else {
        throw FormatError(
          .tooSmall, structure, "bucket_size", found: bucketSize, expected: nodeSize)
      }
      guard member.btreeBitmapShift < Member.btreeBitmapShiftLimit else {
        throw FormatError(
          .tooLarge, structure, "btree_bitmap_shift", found: UInt64(member.btreeBitmapShift),
          expected: UInt64(Member.btreeBitmapShiftLimit) - 1)
      }
    }
  }
}
