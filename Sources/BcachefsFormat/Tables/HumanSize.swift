// SPDX-License-Identifier: GPL-2.0
// Numbers with units, as upstream's command lines take and print them.
//
// Reading takes all that upstream takes (`bch2_strtou64_h`: `64k`, `1.5M`, `16 GiB`) and what its
// table of units means to take and does not reach: `64K`, `2MiB`, `3kB` (units of 1000). Printing
// is the kernel's `string_get_size` in units of 1024: three significant digits, rounded half up.

/// Text with units of a number, both ways.
public enum HumanSize {
  private static let letters: [Character] = ["k", "M", "G", "T", "P", "E"]
  private static let binaryUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

  /// - Returns: nil where `text` is not a number, has an unknown unit, or is above `UInt64.max`.
  public static func parse(_ text: some StringProtocol) -> UInt64? {
    var rest = Substring(text)
    if rest.first == "+" { rest = rest.dropFirst() }
    guard let whole = takeDigits(&rest).flatMap({ UInt64($0) }) else { return nil }
    var fraction: UInt64 = 0
    var fractionUnit: UInt64 = 1
    if rest.first == "." {
      rest = rest.dropFirst()
      guard let digits = takeDigits(&rest), let value = UInt64(digits) else { return nil }
      fraction = value
      for _ in digits {
        let (product, overflow) = fractionUnit.multipliedReportingOverflow(by: 10)
        guard !overflow else { return nil }
        fractionUnit = product
      }
    }
    if rest.last == "\n" { rest = rest.dropLast() }
    guard let unit = unit(rest) else { return nil }
    let (wholeBytes, overflow1) = whole.multipliedReportingOverflow(by: unit)
    // The fraction is below 1: the quotient is below the unit, whatever the product.
    let fractionBytes = fractionUnit.dividingFullWidth(fraction.multipliedFullWidth(by: unit))
    let (sum, overflow2) = wholeBytes.addingReportingOverflow(fractionBytes.quotient)
    return overflow1 || overflow2 ? nil : sum
  }

  private static func takeDigits(_ text: inout Substring) -> Substring? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    text = text.dropFirst(digits.count)
    return digits.isEmpty ? nil : digits
  }

  private static func unit(_ text: Substring) -> UInt64? {
    var text = text
    if text.first == " " { text = text.dropFirst() }
    if text.isEmpty || text == "B" { return 1 }
    guard let first = text.first,
      let index = letters.firstIndex(of: first == "K" ? "k" : first)
    else { return nil }
    let base: UInt64
    switch text.dropFirst() {
    case "", "iB": base = 1024
    case "B": base = 1000
    default: return nil
    }
    return (0...index).reduce(1) { unit, _ in unit * base }
  }

  /// `0 B`, `512 B`, `4.00 KiB`, `64.0 KiB`, `256 KiB`, `1.50 MiB`.
  public static func text(_ value: UInt64) -> String {
    guard value > 0 else { return "0 B" }
    var size = value
    var unit = 0
    var remainder: UInt64 = 0
    // Two loops, as upstream: the first throws the remainder away.
    while size >> 32 != 0 {
      size /= 1024
      unit += 1
    }
    while size >= 1024 {
      remainder = size % 1024
      size /= 1024
      unit += 1
    }
    let digits = size >= 100 ? 0 : size >= 10 ? 1 : 2
    var thousandths = remainder * 1000 / 1024 + [500, 50, 5][digits]
    if thousandths >= 1000 {
      thousandths -= 1000
      size += 1
    }
    let name = binaryUnits[unit]
    guard digits > 0 else { return "\(size) \(name)" }
    let decimals = String(thousandths + 1000).dropFirst().prefix(digits)
    return "\(size).\(decimals) \(name)"
  }
}
