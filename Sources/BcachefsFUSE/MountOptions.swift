// SPDX-License-Identifier: GPL-2.0
// The options of a mount: what `-o` says, in one table.
//
// How it works
//   1. Options of mounts in general go to the kernel, options of FUSE mounts to libfuse, those of
//      the volume (VolumeOption) to the engine, and the rest of the table is for mount(8) and
//      systemd.
//   2. What is in none of these is refused by its name.
// Invariants
//   (1) What was asked to be read-only is mounted so; all else is for reading and writing.

public import BcachefsFormat

/// What a mount is asked to be.
public struct MountOptions: Sendable, Hashable {
  /// The path within the volume that is shown as the mount's root.
  public var subvolume: String?
  /// The file that holds the passphrase.
  public var passphraseFile: String?
  /// Whether other users may look at the mount. Not said: if root mounts; the kernel checks
  /// permissions as on any mount.
  public var allowOther: Bool?
  /// Options for the kernel, as they are.
  public var kernelOptions: [String] = []
  /// Options for the engine.
  public var volumeOptions = VolumeOptions()
  /// Whether nothing is to be changed.
  public private(set) var isReadOnly = false

  private enum Meaning {
    case readOnly, readWrite, subvolume, passphraseFile, allowOther, noAllowOther
    case kernel
    /// For mount(8), fstab's other readers, or true anyway.
    case nothing
  }

  private static let table: [String: Meaning] = [
    "ro": .readOnly, "rw": .readWrite, "subvol": .subvolume, "passphrase_file": .passphraseFile,
    "allow_other": .allowOther, "noallow_other": .noAllowOther,
    "dev": .kernel, "nodev": .kernel, "suid": .kernel, "nosuid": .kernel, "exec": .kernel,
    "noexec": .kernel, "sync": .kernel, "async": .kernel, "atime": .kernel, "noatime": .kernel,
    "dirsync": .kernel,
    "default_permissions": .nothing, "defaults": .nothing, "auto": .nothing, "noauto": .nothing,
    "user": .nothing, "users": .nothing, "nouser": .nothing, "owner": .nothing, "group": .nothing,
    "nofail": .nothing, "_netdev": .nothing, "loop": .nothing, "diratime": .nothing,
    "nodiratime": .nothing, "relatime": .nothing, "norelatime": .nothing, "strictatime": .nothing,
    "nostrictatime": .nothing, "lazytime": .nothing, "nolazytime": .nothing,
  ]

  /// Volume options that decide how a volume is opened.
  private static let openingOptions: [VolumeOption] = [
    .degraded, .veryDegraded, .noSplitbrainCheck, .sb,
  ]
  /// Volume options that decide how files are stored, and how the volume is written to.
  private static let writingOptions: [VolumeOption] = [
    .versionUpgrade, .dataChecksum, .metadataChecksum, .compression, .backgroundCompression,
    .dataReplicas, .metadataReplicas, .foregroundTarget, .backgroundTarget, .promoteTarget,
    .metadataTarget, .nocow, .inlineData, .strHash, .journalFlushDelay, .journalReclaimDelay,
    .journalTransactionNames, .gcReservePercent, .gcReserveBytes, .shardInodeNumbers,
    .inodes32bit, .discard, .usrquota, .grpquota, .prjquota,
  ]
  /// Volume options that decide how a volume is checked before it is mounted.
  private static let checkingOptions: [VolumeOption] = [.fsck, .fixErrors]
  /// Volume options that ask for what reading without a write is anyway.
  private static let fulfilledOptions: [VolumeOption] = [
    .readOnly, .nochanges, .noexcl, .verbose, .acl,
  ]

  /// What there is to say about options, for help: each with its name as it is written.
  public static let help: [(name: String, text: String)] = [
    ("ro", "read-only: nothing is written to the devices, whatever state they are in"),
    ("rw", "for reading and writing (the default)"),
    ("subvol=PATH", "show this directory of the volume as the mount's root"),
    ("passphrase_file=FILE", "unlock with the first line of FILE"),
    ("degraded", "go on when members are missing whose data others have, too"),
    ("very_degraded", "go on when data is missing"),
    ("no_splitbrain_check", "take members that disagree about which of them went on alone"),
    ("sb=SECTOR", "where the superblock is"),
    (
      "fsck",
      "check all metadata first, as fsck -n does; a volume with errors is mounted with ro, or with "
        + "fix_errors=no"
    ),
    ("nochanges", "the same as ro"),
    (
      "usrquota, grpquota, prjquota",
      "hold users, groups and projects to their limits, as \"bcachefs quota\" has set them"
    ),
    (
      "compression=, nocow, ...",
      "options of the volume, as bcachefs format --help tells them, for as long as it is mounted"
    ),
    (
      "allow_other", "let other users look, as far as permissions let them; if root mounts they may"
    ),
    ("noallow_other", "let nobody else look"),
    ("dev, suid, exec", "and nodev, nosuid, noexec: as for any mount; nodev and nosuid are set"),
    ("noauto, nofail, _netdev, x-...", "and what else fstab says to others: taken, without effect"),
  ]

  /// Options of the volume that were asked for and that this mount has no use for.
  public var optionsWithoutEffect: [String] {
    volumeOptions.definedOptions.filter {
      !Self.openingOptions.contains($0) && !Self.fulfilledOptions.contains($0)
        && !Self.checkingOptions.contains($0)
        && (isReadOnly || !Self.writingOptions.contains($0))
    }.map(\.name)
  }

  /// - Parameter lists: Each `NAME[=VALUE],...`; later ones win.
  /// - Throws: `.usage`: an unknown option or a bad value.
  public init(parsing lists: [String]) throws(MountError) {
    for part in lists.joined(separator: ",").split(separator: ",") {
      let fields = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(fields[0])
      let value = fields.count == 2 ? String(fields[1]) : nil
      if name.hasPrefix("x-") || name == "comment" || name == "uhelper" { continue }
      guard let meaning = Self.table[name] else {
        try setVolumeOption(name, value)
        continue
      }
      switch meaning {
      case .readOnly, .readWrite:
        isReadOnly = meaning == .readOnly
      case .subvolume: subvolume = try Self.required(name, value)
      case .passphraseFile: passphraseFile = try Self.required(name, value)
      case .allowOther: allowOther = true
      case .noAllowOther: allowOther = false
      case .kernel: kernelOptions.append(name)
      case .nothing: break
      }
    }
    if volumeOptions.isOn(.readOnly) || volumeOptions.isOn(.nochanges) { isReadOnly = true }
  }

  /// What is to be done about what a check finds.
  public var fixErrors: FixErrorsAnswer {
    FixErrorsAnswer(rawValue: UInt8(truncatingIfNeeded: volumeOptions[.fixErrors]))
  }

  private static func required(
    _ name: String, _ value: String?
  ) throws(MountError) -> String {
    guard let value, !value.isEmpty else {
      throw MountError(.usage, "option \(name): needs a value")
    }
    return value
  }

  private mutating func setVolumeOption(
    _ name: String, _ value: String?
  ) throws(MountError) {
    do throws(OptionError) {
      guard try volumeOptions.setMountOption(name, value: value) else {
        throw OptionError(name, .unknownOption)
      }
    } catch {
      throw MountError(.usage, "option \(error)")
    }
  }

  /// The list that the kernel and libfuse get.
  ///
  /// - Parameters:
  ///   - source: What /proc/mounts shows as the device.
  ///   - isRoot: Whether root mounts.
  func sessionOptions(source: String, isRoot: Bool) -> String {
    var result = [
      isReadOnly ? "ro" : "rw", "default_permissions",
      "max_read=\(ConnectionState.maxTransferBytes)",
    ]
    if allowOther ?? isRoot { result.append("allow_other") }
    result += kernelOptions
    var name = ""
    for character in source {
      if character == "," || character == "\\" { name.append("\\") }
      name.append(character)
    }
    return (result + ["subtype=bcachefs", "fsname=\(name)"]).joined(separator: ",")
  }
}
