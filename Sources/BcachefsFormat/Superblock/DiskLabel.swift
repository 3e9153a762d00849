// SPDX-License-Identifier: GPL-2.0
// Names of volumes and disk groups: up to 32 bytes, ended by a zero if shorter.

/// A name as it stands on disk, with whatever follows its end (`BCH_SB_LABEL_SIZE`).
public struct DiskLabel: Hashable, Sendable {
  public static let byteCount = 32
  /// Exactly 32 bytes.
  public let bytes: [UInt8]

  /// No name.
  public static let empty = DiskLabel(padded: [])

  private init(padded bytes: some Collection<UInt8>) {
    self.bytes = Array(bytes) + [UInt8](repeating: 0, count: Self.byteCount - bytes.count)
  }

  /// - Precondition: `span` covers 32 bytes from `offset`.
  init(decoding span: RawSpan, at offset: Int) {
    bytes = span.copyOfBytes(in: offset..<offset + Self.byteCount)
  }

  /// - Throws: `.tooLarge` for more than 32 bytes of UTF-8, `.invalid` for a zero byte within.
  public init(_ text: some StringProtocol) throws(FormatError) {
    guard text.utf8.count <= Self.byteCount else {
      throw FormatError(
        .tooLarge, "label", found: UInt64(text.utf8.count), expected: UInt64(Self.byteCount))
    }
    guard !text.utf8.contains(0) else { throw FormatError(.invalid, "label") }
    self.init(padded: Array(text.utf8))
  }

  /// The bytes before the first zero.
  public var name: ArraySlice<UInt8> { bytes.prefix { $0 != 0 } }
  /// The name as text; bytes that are not UTF-8 become replacement characters.
  public var text: String { String(decoding: name, as: UTF8.self) }
  public var isEmpty: Bool { name.isEmpty }
}

extension DiskLabel: CustomStringConvertible {
  public var description: String { text }
}
