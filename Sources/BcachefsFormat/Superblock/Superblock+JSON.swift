// SPDX-License-Identifier: GPL-2.0
// The superblock for `show-super --json`: every field, under upstream's names.
//
// Numbers are numbers (sizes in the unit that the name ends in, times in seconds since 1970),
// options are in the units that users give them in, bits are lists of names. Fields that an older
// program left zero have their default; `flags` are the words as they stand on disk.

internal import BcachefsSupport

extension Superblock {
  /// The whole superblock.
  ///
  /// - Parameter sections: Which sections to include; all of them, normally.
  public func json(sections: SuperblockTextStyle.Sections = .all) -> JSONValue {
    let style = SuperblockTextStyle(sections: sections)
    let mended = withReadDefaults()
    let upgraded = MetadataVersion(
      rawValue: UInt16(truncatingIfNeeded: mended[Layout.versionUpgradeComplete]))
    let checksumType = ChecksumType(rawValue: UInt8(truncatingIfNeeded: self[Layout.checksumType]))
    return .object([
      .init("uuid", .string(uuid.description)),
      .init("user_uuid", .string(userUUID.description)),
      .init("magic", .string(magic.description)),
      .init("label", .string(label.text)),
      .init("csum_type", .string(checksumType.description)),
      .init("csum", .string(checksum.description)),
      .init("version", Self.json(version)),
      .init("version_min", Self.json(versionMin)),
      .init("version_upgrade_complete", Self.json(upgraded)),
      .init("offset", .integer(sector)),
      .init("seq", .integer(seq)),
      .init("block_size_sectors", .number(blockSizeSectors)),
      .init("dev_idx", .number(deviceIndex)),
      .init("nr_devices", .number(deviceCount)),
      .init("devices", .integer(UInt64(aliveDeviceCount))),
      .init("bytes", .integer(UInt64(byteCount))),
      .init("time_base_lo", .integer(timeBaseLow)),
      .init("time_base_hi", .number(timeBaseHigh)),
      .init("time_precision", .number(timePrecision)),
      .init("write_time", .integer(writeTime)),
      .init("flags", .array(flags.map { .integer($0) })),
      .init("initialized", .bool(isInitialized)),
      .init("clean", .bool(isClean)),
      .init("has_errors", .bool(self[Layout.hasErrors] != 0)),
      .init("has_topology_errors", .bool(self[Layout.hasTopologyErrors] != 0)),
      .init("big_endian", .bool(self[Layout.bigEndian] != 0)),
      .init("encryption_type", .integer(self[Layout.encryptionType])),
      .init("features", .texts(featureMask.elements)),
      .init("features_words", .array(features.map { .integer($0) })),
      .init("compat", .texts(compatMask.elements)),
      .init("compat_words", .array(compat.map { .integer($0) })),
      .init("options", mended.optionsJSON),
      .init("layout", layout.json),
      .init(
        "sections",
        .array(
          self.sections.filter { style.includes($0.type, of: self) }.map { $0.json })),
    ])
  }

  private static func json(_ version: MetadataVersion) -> JSONValue {
    .object([
      .init("number", .string(version.number)),
      .init("name", version.name.map { .string("\($0)") } ?? .null),
    ])
  }

  /// Numbers for what is one, names for choices.
  private var optionsJSON: JSONValue {
    let words = optionWords
    var members: [JSONValue.Member] = []
    for option in VolumeOption.allCases {
      guard let value = words.value(of: option) else { continue }
      let json: JSONValue =
        switch option.row.kind {
        case .bool where value <= 1: .bool(value == 1)
        case .bool, .integer: .integer(value)
        default: .string(option.text(value, targets: { targetText($0) }))
        }
      members.append(.init(option.name, json))
    }
    return .object(members)
  }
}

extension SuperblockLayout {
  /// Every field; places that are not used are left out.
  public var json: JSONValue {
    .object([
      .init("magic", .string(magic.description)),
      .init("layout_type", .number(layoutType)),
      .init("sb_max_size_bits", .number(maxSizeBits)),
      .init("nr_superblocks", .number(superblockCount)),
      .init("sb_offset", .array(copySectors.map { .integer($0) })),
    ])
  }
}

extension SuperblockSection {
  /// Type, size and every field; of unknown types the bytes, in hexadecimal.
  public var json: JSONValue {
    var members: [JSONValue.Member] = [
      .init("type", .string(type.description)),
      .init("type_number", .number(type.rawValue)),
      .init("bytes", .integer(UInt64(encode().count))),
    ]
    if case .unknown(let section) = self {
      members.append(.init("contents", JSONBytes.text(section.contents)))
    } else if case .object(let fields)? = contents?.json {
      members += fields
    }
    return .object(members)
  }
}
