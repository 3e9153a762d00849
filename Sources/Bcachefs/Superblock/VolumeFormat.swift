// SPDX-License-Identifier: GPL-2.0
// What a new volume is to be: its options, its devices, and the superblock that says so.
//
// How it works
//   1. Geometry first: block size, bucket size (scaled with the smallest device, at least a btree
//      node), buckets of each device.
//   2. Labels become disk groups, targets then name devices or groups.
//   3. With a passphrase, a random key encrypts the volume and the passphrase's key encrypts it.
//   4. The superblock differs between devices in its index, its layout and its journal only.
// Invariants
//   (1) Nothing is written by this file: it makes values (see VolumeFormat+Write.swift).
//   (2) All randomness and time come from the caller.
// Source: bcachefs-tools c_src/libbcachefs.c (bch2_format, bch2_pick_bucket_size).

public import BcachefsFormat
public import BcachefsSupport

/// A device of a new volume.
public struct DeviceFormat: Sendable {
  /// How messages name it.
  public var name: String
  /// Its size; 0 for one that is fitted to what goes into it.
  public var byteCount: UInt64
  /// nil: chosen with the other devices'.
  public var bucketBytes: UInt64?
  /// Copies that one copy here counts for; 0: a cache only.
  public var durability: UInt8 = 1
  /// `ssd.fast` and the like.
  public var label: String?
  /// Whether buckets that are emptied are discarded.
  public var discard = false
  /// What may be written here.
  public var dataAllowed: PersistentMask<DataType> = [.journal, .btree, .user]
  /// Smallest block that the device can write, in bytes.
  public var blockBytes = 512
  /// Device UUID, for builds that are to be repeated; nil: random.
  public var uuid: UUID?

  /// A device with everything else as it usually is.
  public init(name: String, byteCount: UInt64) {
    self.name = name
    self.byteCount = byteCount
  }
}

/// How a new volume is encrypted.
public enum VolumeEncryption: Sendable {
  /// Not at all.
  case none
  /// Encrypted; the key lies in the superblock in plain text (`--no_passphrase`).
  case withoutPassphrase
  /// Bytes without a line end or a zero.
  case passphrase([UInt8])
}

/// A new volume cannot be what it is asked to be.
public struct VolumeFormatError: Error, Sendable, CustomStringConvertible {
  /// One line for people.
  public let description: String
  init(_ description: String) { self.description = description }
}

/// Everything that determines a new volume's superblock.
public struct VolumeFormat: Sendable {
  /// Options of the volume; what is not defined gets its default, or is chosen.
  public var options = VolumeOptions()
  /// Its devices, by member index.
  public var devices: [DeviceFormat]
  /// The name that `LABEL=` finds it by, at most 32 bytes.
  public var label = ""
  /// The UUID that people see; nil: random.
  public var uuid: UUID?
  /// The format's version.
  public var version = MetadataVersion.native
  /// Whether and how its data is encrypted.
  public var encryption = VolumeEncryption.none
  /// Room for each copy of the superblock.
  public var superblockBytes: UInt64 = 1 << 20
  /// Targets by name: a device's name or a label.
  public var targets: [VolumeOption: String] = [:]
  /// Now, in nanoseconds since 1970.
  public var timeNanoseconds: Int64 = 0
  /// The volume's encryption key for builds that are to be repeated; nil: random.
  public var masterKey: EncryptionKey?

  /// A volume on these devices, with everything else as it usually is.
  public init(devices: [DeviceFormat]) { self.devices = devices }

  /// `BCH_MIN_NR_NBUCKETS`
  public static let minBucketCount: UInt64 = 64
}

/// The superblock of a new volume, before it is written to a device.
public struct FormattedVolume: Sendable {
  /// Without device index and layout, which differ between devices.
  public var superblock: Superblock
  /// By device.
  public var layouts: [SuperblockLayout]
  /// The journal's buckets by device; empty before there is a journal.
  public var journals: [Range<UInt64>] = []
  /// The key that data is encrypted with.
  public var key: EncryptionKey?
  /// All options, settled.
  public var options: VolumeOptions
}

extension VolumeFormat {
  /// Settles block, bucket and node sizes.
  ///
  /// - Throws: when a device is too small, or sizes contradict each other.
  public mutating func settleGeometry() throws(VolumeFormatError) {
    guard !devices.isEmpty, devices.count <= 64 else {
      throw VolumeFormatError("a volume has 1 to 64 devices, not \(devices.count)")
    }
    let deviceBlock = UInt64(devices.map(\.blockBytes).max() ?? 512)
    let blockBytes = options.defined(.blockSize) ?? max(deviceBlock, 512)
    guard blockBytes >= deviceBlock else {
      throw VolumeFormatError(
        "block_size \(blockBytes) is smaller than the devices' own \(deviceBlock)")
    }
    options[.blockSize] = blockBytes
    var common: UInt64?
    for device in devices {
      let bytes: UInt64
      if let given = device.bucketBytes {
        bytes = given
      } else {
        bytes = try pickedBucketBytes(device)
      }
      common = min(common ?? bytes, bytes)
    }
    for index in devices.indices where devices[index].bucketBytes == nil {
      devices[index].bucketBytes = common
    }
    if options.defined(.btreeNodeSize) == nil {
      let smallest = devices.compactMap(\.bucketBytes).min() ?? 256 << 10
      options[.btreeNodeSize] = min(256 << 10, smallest)
    }
    for device in devices { try check(device) }
  }

  /// A bucket holds at least a block and a btree node, 128 KiB where the device has room for 64 of
  /// them; large devices get larger ones, up to 1 MiB.
  private func pickedBucketBytes(_ device: DeviceFormat) throws(VolumeFormatError) -> UInt64 {
    let minBuckets = VolumeFormat.minBucketCount
    let blockBytes = options[.blockSize]
    guard device.byteCount >= minBuckets * blockBytes else {
      throw VolumeFormatError(
        "cannot format \(device.name): \(device.byteCount) bytes are too small, at least "
          + "\(minBuckets * blockBytes) are needed")
    }
    var bytes = max(blockBytes, options.defined(.btreeNodeSize) ?? 0, 128 << 10)
    if device.byteCount >= minBuckets * bytes {
      let ratio = device.byteCount / (minBuckets * bytes)
      let log2 = UInt64(63 - max(ratio, 1).leadingZeroBitCount)
      let scale = max(1, log2 / 4)
      let power: UInt64 = 1 << UInt64(63 - scale.leadingZeroBitCount)
      bytes = min(bytes * power, max(1 << 20, bytes))
    } else {
      while device.byteCount < minBuckets * bytes { bytes /= 2 }
    }
    return bytes
  }

  private func check(_ device: DeviceFormat) throws(VolumeFormatError) {
    let bytes = device.bucketBytes ?? 0
    let nodeBytes = options[.btreeNodeSize]
    guard bytes >= options[.blockSize], bytes.nonzeroBitCount == 1 else {
      throw VolumeFormatError(
        "\(device.name): a bucket of \(bytes) bytes is no power of two of at least the block "
          + "size \(options[.blockSize])")
    }
    guard bytes >= nodeBytes else {
      throw VolumeFormatError(
        "\(device.name): a bucket of \(bytes) bytes cannot hold a btree node of \(nodeBytes)")
    }
    guard bytes <= UInt64(UInt16.max) * 512 else {
      throw VolumeFormatError(
        "\(device.name): a bucket of \(bytes) bytes is too large, at most 16 MiB")
    }
    guard device.byteCount / bytes >= VolumeFormat.minBucketCount else {
      throw VolumeFormatError(
        "\(device.name): \(device.byteCount / bytes) buckets of \(bytes) bytes are too few, "
          + "\(VolumeFormat.minBucketCount) are needed; choose smaller buckets or a larger device")
    }
    guard device.byteCount / bytes <= Member.maxBucketCount else {
      throw VolumeFormatError(
        "\(device.name): \(device.byteCount / bytes) buckets of \(bytes) bytes are too many; "
          + "choose larger buckets")
    }
  }

  /// Makes the superblock of a volume that has never been mounted.
  ///
  /// - Precondition: `settleGeometry` was called.
  public func makeVolume(
    random: inout RandomSource
  ) throws(VolumeFormatError) -> FormattedVolume {
    do throws(OptionError) { try options.validate() } catch {
      throw VolumeFormatError("\(error)")
    }
    var layouts: [SuperblockLayout] = []
    for device in devices { layouts.append(try layout(device)) }
    let userUUID = uuid ?? UUID(using: &random)
    var superblock = Superblock(
      version: version, uuid: UUID(using: &random), userUUID: userUUID, layout: layouts[0])
    superblock.featureMask = SuperblockFeature.newVolume
    do throws(FormatError) {
      superblock.label = try DiskLabel(label)
    } catch {
      throw VolumeFormatError("the label \"\(label)\" does not fit 32 bytes")
    }
    let (groups, members) = try makeMembers(&random)
    superblock.setMembers(members)
    if !groups.groups.isEmpty { superblock.setSection(.diskGroups(groups)) }
    var settled = options
    for (option, name) in targets {
      settled[option] = UInt64(try target(name, groups).rawValue)
    }
    settled.store(into: &superblock.optionWords)
    superblock.timeBaseLow = UInt64(bitPattern: timeNanoseconds)
    superblock.timePrecision = 1
    // The driver sets it at its first write; a superblock without a checksum is worth little as a
    // copy to fall back to.
    let checksum = ChecksumOption(rawValue: UInt8(truncatingIfNeeded: settled[.metadataChecksum]))
    superblock[Superblock.Layout.checksumType] = UInt64(checksum.metadataChecksumType ?? 0)
    let key = try addEncryption(to: &superblock)
    return FormattedVolume(
      superblock: superblock, layouts: layouts, key: key, options: settled)
  }

  private func layout(_ device: DeviceFormat) throws(VolumeFormatError) -> SuperblockLayout {
    do throws(FormatError) {
      return try SuperblockLayout(
        deviceSectors: device.byteCount / 512,
        bucketSizeSectors: (device.bucketBytes ?? 0) / 512,
        blockSizeSectors: options[.blockSize] / 512, superblockSectors: superblockBytes / 512)
    } catch {
      throw VolumeFormatError("\(device.name): no room for the superblocks: \(error)")
    }
  }

  private func makeMembers(
    _ random: inout RandomSource
  ) throws(VolumeFormatError) -> (DiskGroupsSection, [Member]) {
    var groups = DiskGroupsSection()
    var members: [Member] = []
    for device in devices {
      let bucketBytes = device.bucketBytes ?? 0
      var member = Member(
        uuid: device.uuid ?? UUID(using: &random), bucketCount: device.byteCount / bucketBytes,
        bucketSizeSectors: UInt16(truncatingIfNeeded: bucketBytes / 512))
      member.discard = device.discard
      member.dataAllowed = device.dataAllowed
      member.durability = device.durability
      if let label = device.label {
        do throws(FormatError) {
          member.groupIndex = try groups.findOrCreate(path: label)
        } catch {
          throw VolumeFormatError("\(device.name): the label \"\(label)\": \(error)")
        }
      }
      members.append(member)
    }
    return (groups, members)
  }

  private func target(
    _ name: String, _ groups: DiskGroupsSection
  ) throws(VolumeFormatError) -> DiskTarget {
    if let index = devices.firstIndex(where: { $0.name == name }) {
      return .device(UInt8(index))
    }
    if let index = groups.index(ofPath: name), let target = DiskTarget.label(index) {
      return target
    }
    throw VolumeFormatError(
      "the target \"\(name)\" is neither a device nor a label of this volume")
  }
}

// MARK: - Encryption

extension VolumeFormat {
  private func addEncryption(
    to superblock: inout Superblock
  ) throws(VolumeFormatError) -> EncryptionKey? {
    let passphrase: [UInt8]?
    switch encryption {
    case .none: return nil
    case .withoutPassphrase: passphrase = nil
    case .passphrase(let bytes): passphrase = bytes
    }
    var entropy = RandomSource.system
    // Never from a seed that others may know: repeatable builds have to bring a key of their own.
    let key = masterKey ?? EncryptionKey(using: &entropy)
    do throws(EncryptionError) {
      let costs = ScryptCosts.standard
      var stored = StoredKey(plain: key)
      if let passphrase {
        let wrapping = try EncryptionKey(
          passphrase: passphrase.rawBytes, costs: costs)
        stored = StoredKey(
          wrapping: key, with: wrapping, superblockMagic: superblock.uuid.lo)
      }
      superblock.setSection(.crypt(CryptSection(costs: costs, storedKey: stored)))
    } catch {
      throw VolumeFormatError("\(error)")
    }
    superblock[Superblock.Layout.encryptionType] = 1
    return key
  }
}
