// SPDX-License-Identifier: GPL-2.0
// Where data is to go: a device, a label, or anywhere.

/// Value of the options that name a device or a label (`target_decode`). The superblock has 12 bits
/// for it, inodes 16.
@frozen
public struct DiskTarget: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt16
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// What a target is.
  public enum Kind: Hashable, Sendable {
    case none
    /// By index of the member.
    case device(UInt8)
    /// By index in the superblock section `disk_groups`.
    case label(Int)
  }

  private static let deviceStart: UInt16 = 1
  private static let labelStart: UInt16 = 257

  /// Anywhere.
  @inlinable public static var none: DiskTarget { .init(rawValue: 0) }

  public static func device(_ index: UInt8) -> DiskTarget {
    DiskTarget(rawValue: deviceStart + UInt16(index))
  }

  /// nil where the index does not fit the superblock's 12 bits.
  public static func label(_ index: Int) -> DiskTarget? {
    guard index >= 0, index <= 0xfff - Int(labelStart) else { return nil }
    return DiskTarget(rawValue: labelStart + UInt16(index))
  }

  public var kind: Kind {
    if rawValue >= DiskTarget.labelStart {
      return .label(Int(rawValue - DiskTarget.labelStart))
    }
    guard rawValue >= DiskTarget.deviceStart else { return .none }
    return .device(UInt8(truncatingIfNeeded: rawValue - DiskTarget.deviceStart))
  }

  /// Without the volume's names: `none`, `device 3`, `label 5`.
  public var description: String {
    switch kind {
    case .none: "none"
    case .device(let index): "device \(index)"
    case .label(let index): "label \(index)"
    }
  }
}
