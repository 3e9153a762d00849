// SPDX-License-Identifier: GPL-2.0
// Inodes, unpacked: what all four encodings on disk say, in one form.
//
// Invariants
//   (1) Each field is as wide as upstream's: what decodes fits, what is set can be encoded.
//   (2) `flags` and `stringHash` touch their own bits of `rawFlags` only.

/// Flags of an inode (`enum bch_inode_flags`). Bits from 20 on belong to the encoding.
@frozen
public struct InodeFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let sync = InodeFlags(rawValue: 1 << 0)
  public static let immutable = InodeFlags(rawValue: 1 << 1)
  public static let append = InodeFlags(rawValue: 1 << 2)
  public static let nodump = InodeFlags(rawValue: 1 << 3)
  public static let noatime = InodeFlags(rawValue: 1 << 4)
  public static let sizeDirty = InodeFlags(rawValue: 1 << 5)
  public static let sectorsDirty = InodeFlags(rawValue: 1 << 6)
  /// No name left; the inode stands in deleted_inodes and goes with its last user.
  public static let unlinked = InodeFlags(rawValue: 1 << 7)
  /// `directory` and `directoryOffset` may be out of date: several links.
  public static let backpointerUntrusted = InodeFlags(rawValue: 1 << 8)
  /// A child snapshot has its own version of this inode.
  public static let hasChildSnapshot = InodeFlags(rawValue: 1 << 9)
  /// A directory below is casefolded (from 1.28 on).
  public static let hasCaseInsensitive = InodeFlags(rawValue: 1 << 10)
  /// Hashes of this directory's names are cut to 31 bits (from 1.30 on).
  public static let direntOffset31Bit = InodeFlags(rawValue: 1 << 11)
}

/// An inode (`struct bch_inode_unpacked`).
///
/// Times count the volume's time units from its epoch. Options (`dataChecksum` to
/// `backgroundTarget`, `erasureCode`, `project`, `nocow`) are stored plus one: 0 is "not set here".
@frozen
public struct Inode: Hashable, Sendable, BitwiseCopyable {
  /// `bi_inum`: the key's offset.
  public var number: UInt64 = 0
  /// `bi_snapshot`: the key's snapshot.
  public var snapshot: UInt32 = 0
  /// The journal entry of its last change.
  public var journalSeq: UInt64 = 0
  /// Secret of the name hash of this directory, or of this inode's xattr names.
  public var hashSeed: UInt64 = 0
  /// Bytes.
  public var size: UInt64 = 0
  /// Sectors allocated.
  public var sectors: UInt64 = 0
  public var version: UInt64 = 0
  /// All 32 bits of `bi_flags`: `flags` and the bits of the encoding.
  public var rawFlags: UInt32 = 0
  /// Type and permissions, as `st_mode`.
  public var mode: UInt16 = 0

  public var atime: UInt64 = 0
  public var ctime: UInt64 = 0
  public var mtime: UInt64 = 0
  /// When it was made.
  public var otime: UInt64 = 0
  public var uid: UInt32 = 0
  public var gid: UInt32 = 0
  /// Links beyond the first (beyond the second for directories).
  public var nlink: UInt32 = 0
  /// Distinguishes users of one inode number over time.
  public var generation: UInt32 = 0
  /// Of a device node, as it is stored (`bi_dev`, a raw `dev_t`); `deviceMajor` and `deviceMinor`
  /// say what it means.
  public var device: UInt32 = 0
  public var dataChecksum: UInt8 = 0
  public var compression: UInt8 = 0
  public var project: UInt32 = 0
  public var backgroundCompression: UInt8 = 0
  public var dataReplicas: UInt8 = 0
  public var promoteTarget: UInt16 = 0
  public var foregroundTarget: UInt16 = 0
  public var backgroundTarget: UInt16 = 0
  public var erasureCode: UInt16 = 0
  /// Bit n: option n of `BCH_INODE_OPTS` was set here and not inherited.
  public var fieldsSet: UInt16 = 0
  /// The directory that holds its name, and the name's offset there.
  public var directory: UInt64 = 0
  public var directoryOffset: UInt64 = 0
  /// Of a subvolume's root: which subvolume, and the one it was made in.
  public var subvolume: UInt32 = 0
  public var parentSubvolume: UInt32 = 0
  public var nocow: UInt8 = 0

  /// Fields of newer versions, as they were found.
  public var unknownFields = UnknownInodeFields()

  /// An inode of all zeroes.
  public init() {}

  /// The flags without the bits of the encoding.
  @inlinable public var flags: InodeFlags {
    get { InodeFlags(rawValue: rawFlags & 0xf_ffff) }
    set { rawFlags = rawFlags & ~0xf_ffff | newValue.rawValue & 0xf_ffff }
  }
  /// `enum bch_str_hash_type` of this directory's names and this inode's xattrs.
  @inlinable public var stringHash: UInt8 {
    get { UInt8(rawFlags >> 20 & 15) }
    set { rawFlags = rawFlags & ~(15 << 20) | UInt32(newValue & 15) << 20 }
  }

  /// `S_IFMT` of the mode.
  @inlinable public var fileType: UInt16 { mode & 0xf000 }
  /// `S_ISDIR`
  @inlinable public var isDirectory: Bool { fileType == 0x4000 }
  /// What a directory entry that names it says (`inode_d_type`).
  @inlinable public var direntType: UInt8 {
    subvolume != 0 ? Dirent.subvolumeType : UInt8(mode >> 12)
  }

  /// Whether `device` can only be user space's `dev_t`. The driver stores the kernel's own, 12 bits
  /// of major above 20 of minor; bcachefs-tools stores what stat(2) gave it. A kernel's number with
  /// major 0 and a minor of 256 or more is no device that anybody makes, and what stat(2) gives for
  /// any device with a minor below 256 is just that.
  private var deviceIsUserSpace: Bool { device >> 20 == 0 && device >> 8 != 0 }

  /// Major number of a device node.
  public var deviceMajor: UInt32 { deviceIsUserSpace ? device >> 8 : device >> 20 }

  /// Minor number of a device node.
  public var deviceMinor: UInt32 { deviceIsUserSpace ? device & 0xff : device & 0xf_ffff }

  /// Stores a device node's numbers as the driver does, of a major below 4096 and a minor below
  /// 2^20; what is above is cut off.
  public mutating func setDevice(major: UInt32, minor: UInt32) {
    device = major << 20 | minor & 0xf_ffff
  }

  /// Links as `st_nlink` counts them (`bch2_inode_nlink_get`).
  @inlinable public var linkCount: UInt32 {
    get { flags.contains(.unlinked) ? 0 : nlink &+ (isDirectory ? 2 : 1) }
    set {
      let bias: UInt32 = isDirectory ? 2 : 1
      if newValue == 0 {
        nlink = 0
        flags.insert(.unlinked)
      } else {
        nlink = newValue &- min(newValue, bias)
        flags.remove(.unlinked)
      }
    }
  }
}

/// The bytes of fields that this version does not know, behind those it does.
@frozen
public struct UnknownInodeFields: Hashable, Sendable, BitwiseCopyable {
  var bytes = SIMD64<UInt8>()
  /// Bytes, at most 64.
  public internal(set) var byteCount: UInt8 = 0
  /// How many fields they hold.
  public internal(set) var fieldCount: UInt8 = 0

  /// None.
  public init() {}
}

// MARK: - The table of packed fields

/// A field that inodes store as a variable-length integer. The number is its place in inode_v3
/// (`BCH_INODE_FIELDS_v3`); size and sectors are such fields before v3 only.
enum InodeField: UInt8, CaseIterable {
  case atime, ctime, mtime, otime, uid, gid, nlink, generation, device, dataChecksum, compression
  case project, backgroundCompression, dataReplicas, promoteTarget, foregroundTarget
  case backgroundTarget, erasureCode, fieldsSet, directory, directoryOffset, subvolume
  case parentSubvolume, nocow
  case size, sectors

  static let countV3 = 24
  static let countV2 = 25

  /// Field number `index` of inode_v3.
  static func v3(_ index: Int) -> InodeField? {
    index < countV3 ? InodeField(rawValue: UInt8(truncatingIfNeeded: index)) : nil
  }

  /// Field number `index` of inode and inode_v2 (`BCH_INODE_FIELDS_v2`).
  static func v2(_ index: Int) -> InodeField? {
    switch index {
    case ..<4: InodeField(rawValue: UInt8(truncatingIfNeeded: index))
    case 4: .size
    case 5: .sectors
    case 6..<countV2: InodeField(rawValue: UInt8(truncatingIfNeeded: index &- 2))
    default: nil
    }
  }

  /// Times have room for 96 bits on disk; their upper part is a second integer.
  var hasUpperPart: Bool { rawValue < 4 }

  var name: StaticString {
    switch self {
    case .atime: "bi_atime"
    case .ctime: "bi_ctime"
    case .mtime: "bi_mtime"
    case .otime: "bi_otime"
    case .uid: "bi_uid"
    case .gid: "bi_gid"
    case .nlink: "bi_nlink"
    case .generation: "bi_generation"
    case .device: "bi_dev"
    case .dataChecksum: "bi_data_checksum"
    case .compression: "bi_compression"
    case .project: "bi_project"
    case .backgroundCompression: "bi_background_compression"
    case .dataReplicas: "bi_data_replicas"
    case .promoteTarget: "bi_promote_target"
    case .foregroundTarget: "bi_foreground_target"
    case .backgroundTarget: "bi_background_target"
    case .erasureCode: "bi_erasure_code"
    case .fieldsSet: "bi_fields_set"
    case .directory: "bi_dir"
    case .directoryOffset: "bi_dir_offset"
    case .subvolume: "bi_subvol"
    case .parentSubvolume: "bi_parent_subvol"
    case .nocow: "bi_nocow"
    case .size: "bi_size"
    case .sectors: "bi_sectors"
    }
  }
}

extension Inode {
  /// The value of a packed field.
  subscript(field: InodeField) -> UInt64 {
    switch field {
    case .atime: atime
    case .ctime: ctime
    case .mtime: mtime
    case .otime: otime
    case .uid: UInt64(uid)
    case .gid: UInt64(gid)
    case .nlink: UInt64(nlink)
    case .generation: UInt64(generation)
    case .device: UInt64(device)
    case .dataChecksum: UInt64(dataChecksum)
    case .compression: UInt64(compression)
    case .project: UInt64(project)
    case .backgroundCompression: UInt64(backgroundCompression)
    case .dataReplicas: UInt64(dataReplicas)
    case .promoteTarget: UInt64(promoteTarget)
    case .foregroundTarget: UInt64(foregroundTarget)
    case .backgroundTarget: UInt64(backgroundTarget)
    case .erasureCode: UInt64(erasureCode)
    case .fieldsSet: UInt64(fieldsSet)
    case .directory: directory
    case .directoryOffset: directoryOffset
    case .subvolume: UInt64(subvolume)
    case .parentSubvolume: UInt64(parentSubvolume)
    case .nocow: UInt64(nocow)
    case .size: size
    case .sectors: sectors
    }
  }

  /// Sets a packed field.
  ///
  /// - Returns: false if `value` is wider than the field.
  mutating func set(_ field: InodeField, _ value: UInt64) -> Bool {
    switch field {
    case .atime: store(value, in: &atime)
    case .ctime: store(value, in: &ctime)
    case .mtime: store(value, in: &mtime)
    case .otime: store(value, in: &otime)
    case .uid: store(value, in: &uid)
    case .gid: store(value, in: &gid)
    case .nlink: store(value, in: &nlink)
    case .generation: store(value, in: &generation)
    case .device: store(value, in: &device)
    case .dataChecksum: store(value, in: &dataChecksum)
    case .compression: store(value, in: &compression)
    case .project: store(value, in: &project)
    case .backgroundCompression: store(value, in: &backgroundCompression)
    case .dataReplicas: store(value, in: &dataReplicas)
    case .promoteTarget: store(value, in: &promoteTarget)
    case .foregroundTarget: store(value, in: &foregroundTarget)
    case .backgroundTarget: store(value, in: &backgroundTarget)
    case .erasureCode: store(value, in: &erasureCode)
    case .fieldsSet: store(value, in: &fieldsSet)
    case .directory: store(value, in: &directory)
    case .directoryOffset: store(value, in: &directoryOffset)
    case .subvolume: store(value, in: &subvolume)
    case .parentSubvolume: store(value, in: &parentSubvolume)
    case .nocow: store(value, in: &nocow)
    case .size: store(value, in: &size)
    case .sectors: store(value, in: &sectors)
    }
  }
}

private func store<V: FixedWidthInteger>(_ value: UInt64, in field: inout V) -> Bool {
  guard let narrow = V(exactly: value) else { return false }
  field = narrow
  return true
}
