// SPDX-License-Identifier: GPL-2.0
// The options that an inode keeps for itself, by their numbers.

extension Inode {
  /// An option's field as it is stored: the value plus one, 0 for "not set".
  private func stored(_ option: InodeOption) -> UInt64 {
    switch option.rawValue {
    case 0: UInt64(dataChecksum)
    case 1: UInt64(compression)
    case 2: UInt64(project)
    case 3: UInt64(backgroundCompression)
    case 4: UInt64(dataReplicas)
    case 5: UInt64(promoteTarget)
    case 6: UInt64(foregroundTarget)
    case 7: UInt64(backgroundTarget)
    case 8: UInt64(erasureCode)
    case 9: UInt64(nocow)
    case 10: inodes32Bit
    case 11: casefold
    default: 0
    }
  }

  /// An option's value, nil where the volume's applies (`bch2_inode_opt_get`).
  public func value(of option: InodeOption) -> UInt64? {
    let stored = stored(option)
    return stored == 0 ? nil : stored - 1
  }

  /// Whether an option was set on this inode, and not inherited.
  public func isSetHere(_ option: InodeOption) -> Bool {
    option.rawValue < 16 && fieldsSet >> UInt16(option.rawValue) & 1 != 0
  }

  /// All options that have a value, ascending by number, those of newer formats too.
  public var options: [(option: InodeOption, value: UInt64, isSetHere: Bool)] {
    InodeOption.names.indices.compactMap { index in
      let option = InodeOption(rawValue: UInt8(index))
      return value(of: option).map { (option, $0, isSetHere(option)) }
    }
  }
}
