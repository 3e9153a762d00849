// SPDX-License-Identifier: GPL-2.0
// Names that come from a disk, made harmless for terminals and aligned columns.

/// Text from bytes that anyone may have written.
public enum SafeText {
  /// The bytes as UTF-8, with control characters as `\xNN` and replacement characters for what is
  /// not UTF-8. Printable text is unchanged.
  public static func text(_ bytes: some Collection<UInt8>) -> String {
    var result = ""
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      // C0, DEL and C1: what moves cursors and changes colours.
      if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) {
        let digits = String(scalar.value, radix: 16)
        result += "\\x" + (digits.count == 1 ? "0" + digits : digits)
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
