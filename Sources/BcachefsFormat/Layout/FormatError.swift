// SPDX-License-Identifier: GPL-2.0
// What is wrong with bytes that claim to be an on-disk structure: small to throw, full to read.

/// A structure on disk is not what it must be: which one, which field, what was found, and what
/// the format asks for. Text is only made when it is printed.
public struct FormatError: Error, Sendable, CustomStringConvertible {
  /// The kind of contradiction.
  public enum Reason: UInt8, Sendable {
    /// Fewer bytes than the structure needs (`found` and `expected` in bytes).
    case truncated = 1
    case badMagic
    case badChecksum
    /// Above the largest value allowed (`expected`).
    case tooLarge
    /// Below the smallest value allowed (`expected`).
    case tooSmall
    /// Not a multiple of `expected`.
    case misaligned
    /// A type, version, or flag this program does not know.
    case unsupported
    /// Contradicts another field (whose value is `expected`).
    case inconsistent
    /// Keys or entries not in their order.
    case outOfOrder
    /// Bits or bytes that must be zero are not.
    case reservedNotZero
    /// May stand once only.
    case duplicate
    /// Must be there and is not.
    case missing
    /// Not encrypted data where it must be, no key, or a wrong one.
    case encryption
    /// Any other value that is not allowed here.
    case invalid
  }

  public let reason: Reason
  /// The structure's C name, as in `bch_sb_field_members_v2`.
  public let structure: StaticString
  /// The field or entry within it.
  public let field: StaticString
  public let found: UInt64
  public let expected: UInt64
  /// Upstream's persistent number for this finding (`enum bch_sb_error_id`), where it has one.
  public let fsckError: FsckErrorID?

  @inline(never)
  public init(
    _ reason: Reason, _ structure: StaticString, _ field: StaticString = "", found: UInt64 = 0,
    expected: UInt64 = 0, fsckError: FsckErrorID? = nil
  ) {
    self.reason = reason
    self.structure = structure
    self.field = field
    self.found = found
    self.expected = expected
    self.fsckError = fsckError
  }

  public var description: String {
    let place = field.utf8CodeUnitCount == 0 ? "\(structure)" : "\(structure).\(field)"
    let text =
      switch reason {
      case .truncated: "\(place): truncated, \(found) bytes where \(expected) are needed"
      case .badMagic: "\(place): bad magic 0x\(hex(found)), expected 0x\(hex(expected))"
      case .badChecksum: "\(place): bad checksum 0x\(hex(found)), expected 0x\(hex(expected))"
      case .tooLarge: "\(place): \(found) is too large, at most \(expected)"
      case .tooSmall: "\(place): \(found) is too small, at least \(expected)"
      case .misaligned: "\(place): \(found) is not a multiple of \(expected)"
      case .unsupported: "\(place): \(found) is not known to this program"
      case .inconsistent: "\(place): \(found) contradicts \(expected)"
      case .outOfOrder: "\(place): \(found) is out of order after \(expected)"
      case .reservedNotZero: "\(place): 0x\(hex(found)) where zero is reserved"
      case .duplicate: "\(place): \(found) stands twice"
      case .missing: "\(place): missing"
      case .encryption: "\(place): encrypted, and no fitting key was given"
      case .invalid: "\(place): invalid value \(found)"
      }
    guard let fsckError else { return text }
    return "\(text) (\(fsckError))"
  }

  private func hex(_ value: UInt64) -> String { String(value, radix: 16) }
}
