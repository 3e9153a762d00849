// SPDX-License-Identifier: GPL-2.0
// Text in columns, as upstream's tools print it, so that scripts which read their output keep
// working.
//
// How it works
//   Tab stops are columns; how many of them have been used up on the current line is counted.
//   - print: writes formatted text. A tab in it pads to one column *before* the next stop; a
//     newline starts a line, indented. After the last stop a tab is just a character.
//   - printRaw: writes text as it is, tabs and newlines included.
//   - tab: pads to the next stop itself.
//   - newline: ends the line.
//   indent and outdent change the indentation of the lines that follow; mid-line, indent also
//   writes the spaces at once. These differences are upstream's, and visible in its output.
// Invariants
//   (1) `lineStart` is the index of the first byte of the current line.
// Source: printbuf.c.

/// Collects text that is aligned by tab stops.
public struct TextPrinter: Sendable {
  private var bytes: [UInt8] = []
  private var lineStart = 0
  private var indentation = 0
  private var tabStops: [Int] = []
  private var nextTabStop = 0

  public init() {}

  /// What was printed so far.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// How many tab stops are set.
  public var tabStopCount: Int { tabStops.count }

  /// Adds a tab stop `columns` after the last one.
  public mutating func addTabStop(_ columns: Int) {
    tabStops.append((tabStops.last ?? 0) + columns)
  }

  // MARK: Text

  /// Writes formatted text: tabs align, newlines indent.
  public mutating func print(_ text: some StringProtocol) {
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\n"): newline()
      case UInt8(ascii: "\t"): alignedTab()
      default: bytes.append(byte)
      }
    }
  }

  /// Writes text as it is.
  public mutating func printRaw(_ text: some StringProtocol) { bytes.append(contentsOf: text.utf8) }

  /// Writes text and ends the line.
  public mutating func printLine(_ text: some StringProtocol) {
    print(text)
    newline()
  }

  public mutating func newline() {
    bytes.append(UInt8(ascii: "\n"))
    lineStart = bytes.count
    nextTabStop = 0
    pad(indentation)
  }

  /// Pads to the next tab stop, if there is one.
  public mutating func tab() {
    guard nextTabStop < tabStops.count else { return }
    pad(tabStops[nextTabStop] - column)
    nextTabStop += 1
  }

  private mutating func alignedTab() {
    guard nextTabStop < tabStops.count else {
      bytes.append(UInt8(ascii: "\t"))
      return
    }
    pad(tabStops[nextTabStop] - column - 1)
    nextTabStop += 1
  }

  // MARK: Indentation

  /// Indents what follows by `columns` more; the current line too if it is empty so far.
  public mutating func indent(_ columns: Int) {
    indentation += columns
    pad(columns)
  }

  /// Takes back `columns` of indentation; on the current line too if it is empty so far.
  public mutating func outdent(_ columns: Int) {
    let columns = min(columns, indentation)
    if lineStart + indentation == bytes.count { bytes.removeLast(columns) }
    indentation -= columns
  }

  private var column: Int { bytes.count - lineStart }

  private mutating func pad(_ columns: Int) {
    guard columns > 0 else { return }
    bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: columns))
  }
}
