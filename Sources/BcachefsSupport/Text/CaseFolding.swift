// SPDX-License-Identifier: GPL-2.0
// Names folded so that all spellings of one name are the same bytes, as Linux folds them.
//
// How it works
//   1. Each character becomes its canonical decomposition, fully case folded, until neither changes
//      anything; ignorable characters become nothing. Tables are of Unicode 12.1.0, for it is by
//      those that Linux hashes folded names; what 12.1.0 does not know stays as it is.
//   2. Marks between two characters of combining class 0 are sorted by their class. An ignorable
//      character is such a border too, though nothing of it remains.
//   3. A table is text of runs, each: distance of its first character from that of the last run;
//      twice the number of characters plus 0 or 1: they follow one another, or every second one;
//      and, but for ignorable ones, a value for all of them: the combining class, or the number of
//      characters that it becomes, the distance of the first of these from the character, and that
//      of the others from U+0300. Numbers have five bits a digit, lowest first, and a bit that says
//      that another digit follows; distances are doubled, less 1 if they are negative.
// Invariants
//   (1) A name folds to the same bytes in every process, whatever Unicode that knows: names on disk
//       are hashed so.
// Source: fs/unicode of Linux (`utf8_casefold`, NFDICF); Unicode 12.1.0, chapters 3.11, 3.12 and
// 3.13; scripts/make-casefold-table.

/// Case folding of names, as casefolded directories of Linux have it.
public enum CaseFolding {
  /// The folded form of a name.
  ///
  /// - Returns: nil if `name` is not valid UTF-8: such a name has no other spellings.
  /// - Complexity: linear, but for names of thousands of combining marks in a row.
  public static func fold(_ name: [UInt8]) -> [UInt8]? {
    if name.allSatisfy({ $0 < 0x80 }) {
      return name.map { UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0 ? $0 | 0x20 : $0 }
    }
    guard let text = String(validating: name, as: UTF8.self) else { return nil }
    var folder = Folder()
    for scalar in text.unicodeScalars { folder.append(scalar.value) }
    folder.endRun()
    return folder.bytes
  }

  // MARK: - Characters

  private struct Folder {
    var bytes: [UInt8] = []
    /// Marks whose order is not settled.
    private var marks: [(combiningClass: UInt32, code: UInt32)] = []

    mutating func append(_ code: UInt32) {
      if let syllable = Hangul(code) {
        endRun()
        syllable.forEachPart { write($0) }
        return
      }
      if tables.ignorable.index(of: code) != nil { return endRun() }
      guard let index = tables.mappings.index(of: code) else { return appendFolded(code) }
      let run = tables.mappings.runs[index]
      appendFolded(UInt32(bitPattern: Int32(bitPattern: code) &+ run.distance))
      for part in run.rest { appendFolded(part) }
    }

    private mutating func appendFolded(_ code: UInt32) {
      let combiningClass = tables.combiningClass(of: code)
      guard combiningClass != 0 else {
        endRun()
        write(code)
        return
      }
      // Behind all of its class and of lower ones.
      var place = marks.count
      while place > 0 && marks[place - 1].combiningClass > combiningClass { place -= 1 }
      marks.insert((combiningClass, code), at: place)
    }

    mutating func endRun() {
      for mark in marks { write(mark.code) }
      marks.removeAll(keepingCapacity: true)
    }

    private mutating func write(_ code: UInt32) {
      guard let scalar = Unicode.Scalar(code) else { return }
      bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }
  }

  /// A syllable that decomposes by arithmetic.
  private struct Hangul {
    private static let first: UInt32 = 0xac00
    private static let count: UInt32 = 11172
    private let index: UInt32

    init?(_ code: UInt32) {
      guard code >= Self.first, code - Self.first < Self.count else { return nil }
      index = code - Self.first
    }

    func forEachPart(_ body: (UInt32) -> Void) {
      body(0x1100 + index / 588)
      body(0x1161 + index % 588 / 28)
      if index % 28 != 0 { body(0x11a7 + index % 28) }
    }
  }

  // MARK: - Tables

  private static let tables = Tables()

  private struct Run {
    let first: UInt32
    let last: UInt32
    let stride: UInt32
    /// Of the first character that it becomes, or the combining class.
    var distance: Int32 = 0
    /// The other characters that it becomes.
    var rest: [UInt32] = []
  }

  private struct RunList {
    var runs: [Run] = []

    /// The run that a character is in.
    func index(of code: UInt32) -> Int? {
      var (low, high) = (0, runs.count)
      while low < high {
        let middle = low + (high - low) / 2
        if runs[middle].first <= code { low = middle + 1 } else { high = middle }
      }
      guard low > 0, code <= runs[low - 1].last,
        (code - runs[low - 1].first) % runs[low - 1].stride == 0
      else { return nil }
      return low - 1
    }
  }

  private struct Tables {
    let mappings: RunList
    let ignorable: RunList
    private let classes: RunList

    init() {
      mappings = Self.list(CaseFoldingTable.mappings) { (run, digits) in
        let count = digits.next()
        run.distance = digits.nextSigned()
        for _ in 1..<count { run.rest.append(UInt32(0x300 + digits.nextSigned())) }
      }
      ignorable = Self.list(CaseFoldingTable.ignorable) { _, _ in }
      classes = Self.list(CaseFoldingTable.combiningClasses) { (run, digits) in
        run.distance = Int32(digits.next())
      }
    }

    func combiningClass(of code: UInt32) -> UInt32 {
      classes.index(of: code).map { UInt32(classes.runs[$0].distance) } ?? 0
    }

    private static func list(
      _ text: String, _ readValue: (inout Run, inout Digits) -> Void
    ) -> RunList {
      var digits = Digits(text)
      var list = RunList()
      var first: UInt32 = 0
      while !digits.isAtEnd {
        first += digits.next()
        let shape = digits.next()
        let stride = shape % 2 + 1
        var run = Run(first: first, last: first + (shape / 2 - 1) * stride, stride: stride)
        readValue(&run, &digits)
        list.runs.append(run)
      }
      return list
    }
  }

  private struct Digits {
    private var rest: Substring.UTF8View

    init(_ text: String) { rest = text[...].utf8 }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func next() -> UInt32 {
      var (value, shift) = (UInt32(0), UInt32(0))
      while let byte = rest.popFirst() {
        let digit = Self.value(byte)
        value |= (digit & 31) << shift
        if digit < 32 { break }
        shift += 5
      }
      return value
    }

    mutating func nextSigned() -> Int32 {
      let value = Int32(next())
      return value % 2 == 0 ? value / 2 : -(value + 1) / 2
    }

    private static func value(_ byte: UInt8) -> UInt32 {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A")) + 10
      case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 36
      case UInt8(ascii: "-"): 62
      default: 63
      }
    }
  }
}
