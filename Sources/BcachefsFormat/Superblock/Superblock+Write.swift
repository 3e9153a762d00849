// SPDX-License-Identifier: GPL-2.0
// What changes whenever a superblock is written, and the bytes for every place on a device.

extension Superblock {
  /// Bytes and the place on a device where they belong.
  public struct Copy: Hashable, Sendable {
    /// In 512-byte sectors.
    public let sector: UInt64
    /// A superblock, to be filled up with zeros to whole blocks; or the 512 bytes of the layout.
    public let bytes: [UInt8]
  }

  /// Counts the write, and stamps it into the members that take part (`bch2_write_super`).
  ///
  /// Call it once for a volume; then write copies for each device, with its `deviceIndex`, layout
  /// and per-device sections. `members_v1` becomes a copy of `members_v2`.
  ///
  /// - Parameters:
  ///   - time: Seconds since 1970.
  ///   - devices: Indices of the members that are written; nil for all.
  public mutating func prepareForWrite(time: UInt64, devices: Set<Int>? = nil) {
    magic = SuperblockMagic.bcachefs
    layout.magic = SuperblockMagic.bcachefs
    seq &+= 1
    writeTime = time
    guard var newer = section(of: MembersV2Section.self) else { return }
    for index in newer.members.indices where devices?.contains(index) ?? true {
      newer.members[index].seq = seq
    }
    setSection(.membersV2(newer))
    setSection(.membersV1(MembersV1Section(members: newer.members)))
  }

  /// Everything that is written to this superblock's device: the copies in the order of the layout,
  /// then the layout itself, if the first copy is where it is looked for.
  ///
  /// - Throws: as `encode`.
  /// - Source: `bch2_super_write`, c_src/libbcachefs.c.
  public func encodedCopies() throws(FormatError) -> [Copy] {
    var copies: [Copy] = []
    for sector in layout.copySectors {
      copies.append(Copy(sector: sector, bytes: try encode(sector: sector)))
    }
    if layout.copySectors.contains(SuperblockLayout.defaultSuperblockSector) {
      copies.append(Copy(sector: SuperblockLayout.sector, bytes: layout.encode()))
    }
    return copies
  }
}
