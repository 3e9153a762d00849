// SPDX-License-Identifier: GPL-2.0
// Values of options: what was asked for, laid over what the superblock says, over the defaults.

/// A set of option values (`struct bch_opts`). An option is defined or it is not; reading one that
/// is not gives its default.
public struct VolumeOptions: Hashable, Sendable {
  private var values: [UInt64?]

  /// No option defined.
  public init() { values = [UInt64?](repeating: nil, count: VolumeOption.allCases.count) }

  /// The value, or the default (`opt_get`). Setting defines.
  public subscript(_ option: VolumeOption) -> UInt64 {
    get { values[Int(option.rawValue)] ?? option.defaultValue }
    set { values[Int(option.rawValue)] = newValue }
  }

  /// The value where it is defined.
  public func defined(_ option: VolumeOption) -> UInt64? { values[Int(option.rawValue)] }

  public mutating func undefine(_ option: VolumeOption) { values[Int(option.rawValue)] = nil }

  /// A bool, or whether the value is other than zero.
  public func isOn(_ option: VolumeOption) -> Bool { self[option] != 0 }

  /// The defined options, in the table's order.
  public var definedOptions: [VolumeOption] { VolumeOption.allCases.filter { defined($0) != nil } }

  /// Takes every defined value of `other` (`bch2_opts_apply`).
  public mutating func apply(_ other: VolumeOptions) {
    for option in VolumeOption.allCases {
      if let value = other.defined(option) { self[option] = value }
    }
  }

  /// Refuses the first defined value that is out of range.
  public func validate() throws(OptionError) {
    for option in VolumeOption.allCases {
      if let value = defined(option) { try option.validate(value) }
    }
  }
}

// MARK: - Superblock

/// What the superblock keeps of the options: its flag words and block size.
public struct SuperblockOptionWords: Sendable {
  /// `bch_sb.flags`
  public var flags: InlineArray<7, UInt64>
  /// `bch_sb.block_size`, in sectors.
  public var blockSizeSectors: UInt16

  public init(flags: InlineArray<7, UInt64> = .init(repeating: 0), blockSizeSectors: UInt16 = 0) {
    self.flags = flags
    self.blockSizeSectors = blockSizeSectors
  }

  /// The option's value; nil for one that the superblock does not keep (`bch2_opt_from_sb`). It may
  /// be out of range: the words are a disk's.
  public func value(of option: VolumeOption) -> UInt64? {
    let stored: UInt64
    switch option.row.storage {
    case .nowhere, .member: return nil
    case .blockSize: stored = UInt64(blockSizeSectors)
    case .flags(let bits): stored = bits.get(flags)
    case .split(let low, let high): stored = low.get(flags) | high.get(flags) << 4
    }
    return option.restored(stored)
  }

  /// Stores the option's value, which is valid; does nothing for an option that the superblock does
  /// not keep (`__bch2_opt_set_sb`).
  public mutating func set(_ option: VolumeOption, to value: UInt64) {
    let stored = option.stored(value)
    switch option.row.storage {
    case .nowhere, .member: break
    case .blockSize: blockSizeSectors = UInt16(truncatingIfNeeded: stored)
    case .flags(let bits): bits.set(&flags, to: stored)
    case .split(let low, let high):
      low.set(&flags, to: stored & 0xf)
      high.set(&flags, to: stored >> 4)
    }
  }
}

extension VolumeOptions {
  /// All options that the superblock keeps, defined (`bch2_opts_from_sb`); not validated.
  public init(superblock words: SuperblockOptionWords) {
    self.init()
    for option in VolumeOption.allCases {
      if let value = words.value(of: option) { self[option] = value }
    }
  }

  /// Stores every option that the superblock keeps; defaults where nothing is defined.
  public func store(into words: inout SuperblockOptionWords) {
    for option in VolumeOption.allCases { words.set(option, to: self[option]) }
  }
}

// MARK: - Text

extension VolumeOptions {
  /// Sets an option of a mount (`bch2_parse_one_mount_opt`).
  ///
  /// - Returns: false for an option that nobody knows: a mount ignores it.
  /// - Throws: `.notAllowed` for one that mounts do not have; what `VolumeOption.parse` throws,
  ///   among it `.needsVolume` for targets: to be set again once the volume is open.
  @discardableResult
  public mutating func setMountOption(
    _ name: String, value: String?, targets: VolumeOption.TargetLookup? = nil
  ) throws(OptionError) -> Bool {
    guard let (option, text) = VolumeOption.lookup(name, value: value) else { return false }
    guard option.flags.contains(.mount) else {
      throw OptionError(name, .notAllowed(place: "mount"))
    }
    self[option] = try option.parse(text, targets: targets)
    return true
  }

  /// Sets the options of a mount's `-o`: `NAME[=VALUE],...` (`bch2_parse_mount_opts`).
  ///
  /// - Returns: the parts that are no options of ours, as they were.
  public mutating func setMountOptions(
    _ list: String, targets: VolumeOption.TargetLookup? = nil
  ) throws(OptionError) -> [String] {
    var others: [String] = []
    for part in list.split(separator: ",") {
      let fields = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let value = fields.count == 2 ? String(fields[1]) : nil
      if try !setMountOption(String(fields[0]), value: value, targets: targets) {
        others.append(String(part))
      }
    }
    return others
  }

  /// Options that are not their default, as mount options, separated by commas
  /// (`bch2_opts_to_text`).
  ///
  /// - Parameters:
  ///   - showing: only options with one of these flags.
  ///   - hiding: no option with one of these.
  public func mountText(
    showing: VolumeOption.Flags = .mount, hiding: VolumeOption.Flags = .hidden,
    targets: VolumeOption.TargetNames? = nil
  ) -> String {
    var parts: [String] = []
    for option in VolumeOption.allCases {
      guard let value = defined(option), value != option.defaultValue,
        !option.flags.isDisjoint(with: showing), option.flags.isDisjoint(with: hiding)
      else { continue }
      parts.append(option.mountText(value, targets: targets))
    }
    return parts.joined(separator: ",")
  }
}
