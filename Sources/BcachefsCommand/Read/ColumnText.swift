// SPDX-License-Identifier: GPL-2.0
// Text in columns: by tab stops as upstream has them, and as wide as its contents.

/// Text with tab stops, left and right, as upstream's printbuf lays it out.
final class ColumnText {
  private(set) var text = ""
  /// Columns, ascending. They count from the line's start.
  var stops: [Int] = []
  /// Of the lines that follow, and of this one while it is empty.
  var indentation = 0 {
    didSet { if next == 0 && line.allSatisfy({ $0 == " " }) { startLine() } }
  }
  private var line: [Character] = []
  /// Where the field begins that a right stop would move.
  private var field = 0
  private var next = 0

  @discardableResult
  func put(_ text: String) -> ColumnText {
    for character in text {
      if character == "\n" { newline() } else { line.append(character) }
    }
    return self
  }

  /// Pads to the next stop.
  @discardableResult
  func tab() -> ColumnText {
    line.append(contentsOf: padding())
    return advance()
  }

  /// Moves what was written since the last stop to the right, up to the next stop.
  @discardableResult
  func tabRight() -> ColumnText {
    line.insert(contentsOf: padding(), at: field)
    return advance()
  }

  @discardableResult
  func newline() -> ColumnText {
    text += String(line) + "\n"
    startLine()
    return self
  }

  private func startLine() {
    line = [Character](repeating: " ", count: indentation)
    field = line.count
    next = 0
  }

  private func padding() -> [Character] {
    guard next < stops.count else { return [] }
    return [Character](repeating: " ", count: max(stops[next] - line.count, 0))
  }

  private func advance() -> ColumnText {
    field = line.count
    next += 1
    return self
  }
}

/// Rows with aligned columns, a heading above them.
struct TextTable {
  private var rows: [[String]]

  init(_ heading: [String]) { rows = [heading] }

  mutating func add(_ row: [String]) { rows.append(row) }

  var text: String {
    var out = ""
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    for row in rows {
      var line = ""
      for (column, cell) in row.enumerated() {
        line += cell
        if column < row.count - 1 {
          line += String(repeating: " ", count: widths[column] - cell.count + 2)
        }
      }
      while line.last == " " { line.removeLast() }
      out += line + "\n"
    }
    return out
  }
}
