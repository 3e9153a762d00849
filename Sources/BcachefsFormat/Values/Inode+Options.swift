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

// MARK: - Setting

extension Inode {
  /// Sets an option of version 1.13, or leaves it to the volume.
  ///
  /// - Parameters:
  ///   - value: nil: the volume's applies.
  ///   - isSetHere: Whether it was set on this inode; if not, it follows the directory's.
  /// - Returns: false for an option of a newer format, and for a value that its field is too narrow
  ///   for; nothing is changed then.
  public mutating func setOption(
    _ option: InodeOption, to value: UInt64?, isSetHere: Bool
  ) -> Bool {
    guard let bits = option.fieldBits, value.map({ $0 < 1 << UInt64(bits) - 1 }) ?? true else {
      return false
    }
    store(option, value.map { $0 + 1 } ?? 0)
    let bit = UInt16(1) << UInt16(option.rawValue)
    fieldsSet = isSetHere ? fieldsSet | bit : fieldsSet & ~bit
    return true
  }

  /// Takes all options from the directory that the inode is made in.
  public mutating func takeOptions(of directory: Inode) {
    for option in Inode.nativeOptions { store(option, directory.stored(option)) }
  }

  /// Makes the options that were not set on this inode those of a directory
  /// (`bch2_reinherit_attrs`).
  ///
  /// - Returns: whether one of them was another one.
  public mutating func inheritOptions(of directory: Inode) -> Bool {
    var isChanged = false
    for option in Inode.nativeOptions where !isSetHere(option) {
      guard stored(option) != directory.stored(option) else { continue }
      store(option, directory.stored(option))
      isChanged = true
    }
    return isChanged
  }

  private static var nativeOptions: LazyMapSequence<Range<UInt8>, InodeOption> {
    (0..<UInt8(InodeOption.nativeCount)).lazy.map { InodeOption(rawValue: $0) }
  }

  /// Sets an option's field; what does not fit was refused before.
  private mutating func store(_ option: InodeOption, _ stored: UInt64) {
    switch option.rawValue {
    case 0: dataChecksum = UInt8(truncatingIfNeeded: stored)
    case 1: compression = UInt8(truncatingIfNeeded: stored)
    case 2: project = UInt32(truncatingIfNeeded: stored)
    case 3: backgroundCompression = UInt8(truncatingIfNeeded: stored)
    case 4: dataReplicas = UInt8(truncatingIfNeeded: stored)
    case 5: promoteTarget = UInt16(truncatingIfNeeded: stored)
    case 6: foregroundTarget = UInt16(truncatingIfNeeded: stored)
    case 7: backgroundTarget = UInt16(truncatingIfNeeded: stored)
    case 8: erasureCode = UInt16(truncatingIfNeeded: stored)
    case 9: nocow = UInt8(truncatingIfNeeded: stored)
    default: break
    }
  }
}
