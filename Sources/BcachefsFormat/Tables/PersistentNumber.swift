// SPDX-License-Identifier: GPL-2.0
// Numbers with names that stand on disk, and sets of them. Unknown numbers are values like any
// other: they are kept, compared, written back, and printed as unknown.

/// A number that is persistent on disk and has a name upstream.
///
/// Tables are dense: a name's place is its number.
public protocol PersistentNumber: RawRepresentable, Hashable, Sendable, CustomStringConvertible
where RawValue: FixedWidthInteger & UnsignedInteger & Sendable {
  /// What upstream calls the kind of number, as in `(unknown data_type 77)`.
  static var tableName: StaticString { get }
  /// Names by number. Those from `nativeCount` on are of formats newer than 1.13: good for
  /// printing, not for writing.
  static var names: [StaticString] { get }
  /// How many numbers version 1.13 knows.
  static var nativeCount: Int { get }
  init(rawValue: RawValue)
}

extension PersistentNumber {
  public static var nativeCount: Int { names.count }

  /// All numbers of version 1.13, in order.
  public static var all: [Self] {
    (0..<nativeCount).map { Self(rawValue: RawValue(truncatingIfNeeded: $0)) }
  }

  /// Whether version 1.13 knows this number.
  public var isKnown: Bool { rawValue < RawValue(clamping: Self.nativeCount) }

  /// Upstream's name; nil when neither 1.13 nor the newest format known here has one.
  public var name: StaticString? {
    let index = Int(clamping: rawValue)
    return index < Self.names.count ? Self.names[index] : nil
  }

  /// The number of version 1.13 that has this name.
  public init?(named name: some StringProtocol) {
    guard let index = Self.names[..<Self.nativeCount].firstIndex(where: { "\($0)" == name }) else {
      return nil
    }
    self.init(rawValue: RawValue(truncatingIfNeeded: index))
  }

  /// Upstream's name, `(unknown KIND N)` without one.
  public var description: String {
    name.map { "\($0)" } ?? "(unknown \(Self.tableName) \(rawValue))"
  }
}

/// A set of persistent numbers below 64, as one word on disk. Unknown bits are kept.
@frozen
public struct PersistentMask<Element: PersistentNumber>: Hashable, Sendable {
  public var rawValue: UInt64
  @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }

  private static func bit(_ element: Element) -> UInt64 {
    element.rawValue < 64 ? 1 << UInt64(element.rawValue) : 0
  }

  public var isEmpty: Bool { rawValue == 0 }
  public func contains(_ element: Element) -> Bool { rawValue & Self.bit(element) != 0 }
  public mutating func insert(_ element: Element) { rawValue |= Self.bit(element) }
  public mutating func remove(_ element: Element) { rawValue &= ~Self.bit(element) }
  public func union(_ other: Self) -> Self { Self(rawValue: rawValue | other.rawValue) }
  public func subtracting(_ other: Self) -> Self { Self(rawValue: rawValue & ~other.rawValue) }
  public func isSuperset(of other: Self) -> Bool { other.rawValue & ~rawValue == 0 }

  /// The numbers in the set, ascending.
  public var elements: [Element] {
    (0..<64).filter { rawValue >> UInt64($0) & 1 != 0 }
      .map { Element(rawValue: Element.RawValue(truncatingIfNeeded: $0)) }
  }

  /// The bits that version 1.13 does not know.
  public var unknown: Self {
    let known = Element.nativeCount >= 64 ? ~0 : (UInt64(1) << UInt64(Element.nativeCount)) - 1
    return Self(rawValue: rawValue & ~known)
  }
}

extension PersistentMask: ExpressibleByArrayLiteral {
  public init(arrayLiteral elements: Element...) {
    rawValue = 0
    for element in elements { insert(element) }
  }
}

extension PersistentMask: CustomStringConvertible {
  /// Names separated by commas (`prt_bitflags`); unlike upstream, unknown bits are shown too.
  public var description: String { elements.map(\.description).joined(separator: ",") }
}
