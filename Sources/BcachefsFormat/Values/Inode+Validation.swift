// SPDX-License-Identifier: GPL-2.0
// The rules for inodes, and how they print.
// Source: bcachefs inode.c (__bch2_inode_validate, __bch2_inode_unpacked_to_text).

extension Inode {
  /// Checks a key of any of the three inode types (`bch2_inode_v3_validate` and its elders).
  public static func validate(key: BKey, value: RawSpan) throws(FormatError) {
    guard key.position.inode == 0 else {
      throw bad("pos", key.position.inode, .inode_pos_inode_nonzero)
    }
    guard key.position.offset >= Positions.minInode else {
      throw bad("pos", key.position.offset, .inode_pos_blockdev_range)
    }
    let inode = try Inode(key: key, value: value)
    try inode.validate()
  }

  /// The rules for what the fields say.
  public func validate() throws(FormatError) {
    guard StringHashType(rawValue: stringHash).isKnown else {
      throw Inode.bad("bi_flags", UInt64(stringHash), .inode_str_hash_invalid)
    }
    guard dataChecksum == 0 || ChecksumOption(rawValue: dataChecksum - 1).isKnown else {
      throw Inode.bad("bi_data_checksum", UInt64(dataChecksum), .inode_checksum_type_invalid)
    }
    guard compression == 0 || CompressionOption(rawValue: compression - 1).isValid else {
      throw Inode.bad("bi_compression", UInt64(compression), .inode_compression_type_invalid)
    }
    guard !flags.contains(.unlinked) || nlink == 0 else {
      throw Inode.bad("bi_nlink", UInt64(nlink), .inode_unlinked_but_nlink_nonzero)
    }
    guard subvolume == 0 || isDirectory else {
      throw Inode.bad("bi_subvol", UInt64(subvolume), .inode_subvol_root_but_not_dir)
    }
  }

  private static func bad(
    _ field: StaticString, _ found: UInt64, _ error: FsckErrorID
  ) -> FormatError {
    FormatError(.invalid, "bch_inode", field, found: found, fsckError: error)
  }
}

extension InodeFlags: CustomStringConvertible {
  /// Names of the flags, a comma between; a flag without a name ends the list, as upstream's does.
  public var description: String {
    var names: [String] = []
    var left = rawValue & 0xf_ffff
    while left != 0, let name = InodeFlag(rawValue: UInt8(left.trailingZeroBitCount)).name {
      names.append("\(name)")
      left &= left - 1
    }
    return names.joined(separator: ",")
  }
}

extension Inode: CustomStringConvertible {
  /// Upstream's lines, each field on its own.
  public var description: String {
    var text = "\n  mode=\(String(mode, radix: 8))"
    text += "\n  flags=\(flags)(\(String(rawFlags, radix: 16)))"
    text += "\n  journal_seq=\(journalSeq)"
    text += "\n  hash_seed=\(String(hashSeed, radix: 16))"
    text += "\n  hash_type=\(StringHashType(rawValue: stringHash))"
    text += "\n  bi_size=\(size)"
    text += "\n  bi_sectors=\(sectors)"
    text += "\n  bi_version=\(version)"
    for index in 0..<InodeField.countV3 {
      guard let field = InodeField.v3(index) else { break }
      text += "\n  \(field.name)=\(self[field])"
    }
    return text
  }
}
