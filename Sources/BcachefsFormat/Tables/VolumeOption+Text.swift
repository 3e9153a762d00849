// SPDX-License-Identifier: GPL-2.0
// Values of options from text and to text, by upstream's rules (`bch2_opt_parse`,
// `bch2_opt_validate`, `bch2_opt_to_text`, `bch2_parse_one_mount_opt`).
//
// Invariants
//   (1) What `parse` returns passes `validate`; what passes it fits its place in the superblock.
//   (2) `text` takes any value, also one from a damaged superblock.
//   (3) Reading follows upstream, and takes yes, no, true, false, on, off for 1 and 0 besides.

extension VolumeOption {
  /// Finds the device or label of a name in an open volume.
  public typealias TargetLookup = (String) -> DiskTarget?
  /// Names a device or label of an open volume.
  public typealias TargetNames = (DiskTarget) -> String?

  /// The value that `text` stands for; nil is an option without `=VALUE`.
  ///
  /// - Parameter targets: without it, targets other than `none` are refused.
  /// - Throws: `OptionError`, with every reason but `unknownOption` and `notAllowed`.
  public func parse(
    _ text: String?, targets: TargetLookup? = nil
  ) throws(OptionError) -> UInt64 {
    let value = try parseUnchecked(text, targets: targets)
    try validate(value)
    return value
  }

  private func parseUnchecked(
    _ text: String?, targets: TargetLookup?
  ) throws(OptionError) -> UInt64 {
    guard let text else {
      switch row.kind {
      case .bool: return 1
      case .fixErrors: return UInt64(FixErrorsAnswer.yes.rawValue)
      default: throw OptionError(name, .needsValue)
      }
    }
    switch row.kind {
    case .bool:
      return try parseBool(text)
    case .integer:
      let value = flags.contains(.humanReadable) ? HumanSize.parse(text) : UInt64(text)
      guard let value else { throw OptionError(name, .notANumber(text)) }
      return value
    case .choice, .fixErrors, .recoveryPass:
      return try parseChoice(text)
    case .recoveryPasses, .dataTypes:
      var bits: UInt64 = 0
      let list = text.split(omittingEmptySubsequences: false) { $0 == "," || $0 == ";" }
      for part in list { bits |= 1 << (try parseChoice(String(part))) }
      return bits
    case .compression:
      guard let option = CompressionOption(parsing: text) else {
        throw OptionError(name, .badCompression(text))
      }
      return UInt64(option.rawValue)
    case .target:
      if text.isEmpty || text == "none" { return 0 }
      guard let targets else { throw OptionError(name, .needsVolume(text)) }
      guard let target = targets(text) else { throw OptionError(name, .badTarget(text)) }
      return UInt64(target.rawValue)
    }
  }

  private func parseBool(_ text: String) throws(OptionError) -> UInt64 {
    switch text.lowercased() {
    case "0", "no", "false", "off": return 0
    case "1", "yes", "true", "on": return 1
    default: throw OptionError(name, .notABool(text))
    }
  }

  private func parseChoice(_ text: String) throws(OptionError) -> UInt64 {
    guard let index = choices.firstIndex(of: text) else {
      throw OptionError(name, .notAChoice(text, choices: choices))
    }
    return UInt64(index)
  }

  /// The names that its values have, by number or bit; empty for kinds without.
  public var choices: [String] {
    switch row.kind {
    case .choice(let names): names.map { "\($0)" }
    case .fixErrors: FixErrorsAnswer.all.map(\.description)
    case .recoveryPass, .recoveryPasses: RecoveryPass.table.map(\.pass.description)
    // The member has five bits for them.
    case .dataTypes: DataType.all.prefix(5).map(\.description)
    case .bool, .integer, .compression, .target: []
    }
  }

  /// Refuses values out of range, and values that the place where they are stored cannot hold.
  public func validate(_ value: UInt64) throws(OptionError) {
    switch row.kind {
    case .bool:
      guard value <= 1 else { throw OptionError(name, .tooBig(value, maximum: 1)) }
    case .integer(let minimum, let below):
      guard value >= minimum else { throw OptionError(name, .tooSmall(value, minimum: minimum)) }
      guard value < below || below == .max else {
        throw OptionError(name, .tooBig(value, maximum: below - 1))
      }
    case .choice, .fixErrors, .recoveryPass:
      guard value < UInt64(choices.count) else { throw OptionError(name, .invalidValue(value)) }
    case .recoveryPasses, .dataTypes:
      guard value >> UInt64(choices.count) == 0 else {
        throw OptionError(name, .invalidValue(value))
      }
    case .compression:
      guard let raw = UInt8(exactly: value), CompressionOption(rawValue: raw).isValid else {
        throw OptionError(name, .invalidValue(value))
      }
    case .target:
      guard value <= 0xfff else { throw OptionError(name, .tooBig(value, maximum: 0xfff)) }
    }
    if flags.contains(.sectors), value & 511 != 0 {
      throw OptionError(name, .notMultipleOf512(value))
    }
    if flags.contains(.powerOfTwo), value.nonzeroBitCount != 1 {
      throw OptionError(name, .notPowerOfTwo(value))
    }
    if let capacity, stored(value) > capacity {
      throw OptionError(name, .tooBig(value, maximum: restored(capacity)))
    }
  }

  /// The value as upstream prints it.
  ///
  /// - Parameter targets: without it, a target prints as `device N` or `label N`.
  public func text(_ value: UInt64, targets: TargetNames? = nil) -> String {
    switch row.kind {
    case .bool, .integer:
      if flags.contains(.humanReadable) { return HumanSize.text(value) }
      return "\(Int64(bitPattern: value))"
    case .choice, .fixErrors, .recoveryPass:
      let choices = choices
      guard value < UInt64(choices.count) else {
        return "(invalid option \(Int64(bitPattern: value)))"
      }
      return choices[Int(value)]
    case .recoveryPasses, .dataTypes:
      return choices.enumerated().filter { value >> UInt64($0.offset) & 1 != 0 }
        .map(\.element).joined(separator: ",")
    case .compression:
      return CompressionOption(rawValue: UInt8(truncatingIfNeeded: value)).description
    case .target:
      let target = DiskTarget(rawValue: UInt16(truncatingIfNeeded: value))
      return targets?(target) ?? target.description
    }
  }

  /// As a mount option: `acl`, `noacl`, `data_replicas=2`.
  public func mountText(_ value: UInt64, targets: TargetNames? = nil) -> String {
    if case .bool = row.kind { return value != 0 ? name : "no\(name)" }
    return "\(name)=\(text(value, targets: targets))"
  }

  /// All choices with the one chosen in brackets, as sysfs shows it: `continue [fix_safe] panic
  /// ro`. For kinds without choices the same as `text`.
  public func fullListText(_ value: UInt64) -> String {
    guard case .choice = row.kind else { return text(value) }
    return choices.enumerated().map { UInt64($0.offset) == value ? "[\($0.element)]" : $0.element }
      .joined(separator: " ")
  }

  /// The option that a command line or mount means by `name`, and its value text: `noNAME` without
  /// a value is `NAME=0`, `quota` is `usrquota`. Nil where there is no such option.
  public static func lookup(
    _ name: String, value: String?
  ) -> (option: VolumeOption, value: String?)? {
    if let option = synonym(name) { return (option, value) }
    guard value == nil, name.hasPrefix("no"), let option = synonym(name.dropFirst(2)) else {
      return nil
    }
    return (option, "0")
  }

  private static func synonym(_ name: some StringProtocol) -> VolumeOption? {
    name == "quota" ? .usrquota : VolumeOption(named: name)
  }
}

// MARK: - Stored form

extension VolumeOption {
  /// The number that the superblock holds for `value`.
  func stored(_ value: UInt64) -> UInt64 {
    var stored = value
    if flags.contains(.sectors) { stored >>= 9 }
    if flags.contains(.log2) {
      stored = stored == 0 ? 0 : UInt64(63 - stored.leadingZeroBitCount)
    }
    return flags.contains(.oneBias) ? stored &+ 1 : stored
  }

  /// The value that the superblock means by `stored`; 0 in a biased place is the default.
  func restored(_ stored: UInt64) -> UInt64 {
    var value = stored
    if flags.contains(.oneBias) { return value == 0 ? defaultValue : value &- 1 }
    if flags.contains(.log2) { value = 1 << value }
    return flags.contains(.sectors) ? value << 9 : value
  }

  /// The largest number its place can hold; nil where it is not stored.
  var capacity: UInt64? {
    switch row.storage {
    case .nowhere: nil
    case .blockSize: UInt64(UInt16.max)
    case .flags(let bits): bits.max
    case .split: 0xff
    case .member(let bits): (1 << UInt64(bits.count)) - 1
    }
  }

  /// Reads a device's option from `bch_member.flags`; nil for an option not kept there.
  public func value(inMemberFlags flags: UInt64) -> UInt64? {
    guard case .member(let bits) = row.storage else { return nil }
    return restored(LEBits<UInt64>(LEField(0), bits).get(flags))
  }

  /// `flags` (`bch_member.flags`) with this option set; unchanged for an option not kept there.
  public func setting(memberFlags flags: UInt64, to value: UInt64) -> UInt64 {
    guard case .member(let range) = row.storage else { return flags }
    let bits = LEBits<UInt64>(LEField(0), range)
    return bits.setting(flags, to: stored(value) & bits.max)
  }
}
