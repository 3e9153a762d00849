// SPDX-License-Identifier: GPL-2.0
// What superblocks and their layouts start with.

public import BcachefsSupport

/// The 16 bytes that tell a superblock from anything else.
public enum SuperblockMagic {
  /// c68573f6-66ce-90a9-d96a-60cf803df7ef (`BCHFS_MAGIC`).
  public static let bcachefs = UUID(lo: 0xa990_ce66_f673_85c6, hi: 0xeff7_3d80_cf60_6ad9)
  /// c68573f6-4e1a-45ca-8265-f57f48ba6d81, of volumes from before bcachefs had its own
  /// (`BCACHE_MAGIC`); read, never written.
  public static let bcache = UUID(lo: 0xca45_1a4e_f673_85c6, hi: 0x816d_ba48_7ff5_6582)

  /// - Throws: `.badMagic`.
  static func check(_ magic: UUID, _ structure: StaticString) throws(FormatError) {
    guard magic == bcachefs || magic == bcache else {
      throw FormatError(.badMagic, structure, "magic", found: magic.lo, expected: bcachefs.lo)
    }
  }
}
