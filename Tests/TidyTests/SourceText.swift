// SPDX-License-Identifier: GPL-2.0
// The checkout's own text, as the tidy rules read it.
//
// How it works
//   1. Every file is loaded once. Of a Swift file there are two versions, equally long: as it
//      stands, and `code`, where comments and the text of string literals are blanks.
//   2. A rule searches either for bytes and reports `path:line`.
// Invariants
//   (1) `code.count == bytes.count`, and a newline stands at the same places in both.

internal import TestSupport
internal import Testing

struct SourceText: Sendable {
  /// Relative to the checkout's root.
  let path: String
  let bytes: [UInt8]
  let code: [UInt8]

  /// Every Swift file below Sources, Tests, Examples and Benchmarks, and Package.swift.
  static let swiftFiles: [SourceText] = allFiles.filter { $0.path.hasSuffix(".swift") }

  /// Every text file of the project, whatever its kind; no fixtures and no golden data.
  static let allFiles: [SourceText] = {
    let folders = ["Sources", "Tests", "Examples", "Benchmarks", "scripts", "docs", ".ci"]
    let nested = folders.flatMap { folder in
      filePaths(below: "\(repositoryRoot)/\(folder)").map { "\(folder)/\($0)" }
    }
    let top = fileNames(in: repositoryRoot).filter {
      $0.hasSuffix(".md") || $0 == "Makefile" || $0 == "Package.swift"
    }
    return (nested + top).filter { !isData($0) }.compactMap { path in
      guard let bytes = try? readFile("\(repositoryRoot)/\(path)") else { return nil }
      return SourceText(path: path, bytes: bytes)
    }
  }()

  private static func isData(_ path: String) -> Bool {
    path.hasPrefix("Tests/Fixtures/") || path.contains("/Golden/") || path.contains("/.build")
  }

  init(path: String, bytes: [UInt8]) {
    self.path = path
    self.bytes = bytes
    code = path.hasSuffix(".swift") ? SourceText.withoutCommentsAndStrings(bytes) : bytes
  }

  /// The lines as they stand.
  var lines: [String] {
    bytes.split(separator: newline, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
  }

  var codeLines: [String] {
    code.split(separator: newline, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
  }

  /// The module a source file belongs to, as in `Sources/MODULE/...`.
  var sourcesModule: String? {
    let parts = path.split(separator: "/")
    return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
  }

  /// The places (`path:line`) where `needle` stands in `text`. A needle that begins or ends with a
  /// letter matches whole words only.
  func places(of needle: String, in text: [UInt8]) -> [String] {
    let wanted = Array(needle.utf8)
    guard let first = wanted.first, let last = wanted.last else { return [] }
    var found: [String] = []
    var line = 1
    for start in text.indices {
      if text[start] == newline { line += 1 }
      guard text[start] == first, start + wanted.count <= text.count,
        text[start..<(start + wanted.count)].elementsEqual(wanted)
      else { continue }
      let before = start > 0 ? text[start - 1] : newline
      let end = start + wanted.count
      let after = end < text.count ? text[end] : newline
      if isWordByte(first) && isWordByte(before) || isWordByte(last) && isWordByte(after) {
        continue
      }
      found.append("\(path):\(line)")
    }
    return found
  }

  // MARK: Blanking

  /// The same bytes with comments and the text of string literals turned into blanks.
  static func withoutCommentsAndStrings(_ bytes: [UInt8]) -> [UInt8] {
    var out = bytes
    var at = 0
    // blanks from `at` up to and including the first `end` at or after `from`
    func blank(from: Int, until end: [UInt8], escapes: Bool) {
      var next = from
      while next < bytes.count {
        if escapes && bytes[next] == backslash {
          next += 2
        } else if bytes[next...].starts(with: end) {
          break
        } else {
          next += 1
        }
      }
      let stop = min(next + (end == [newline] ? 0 : end.count), bytes.count)
      for index in at..<max(stop, at) where bytes[index] != newline { out[index] = space }
      at = max(stop, at + 1)
    }
    while at < bytes.count {
      let byte = bytes[at]
      if byte == slash && bytes[at...].starts(with: [slash, slash]) {
        blank(from: at, until: [newline], escapes: false)
      } else if byte == slash && bytes[at...].starts(with: [slash, star]) {
        blank(from: at + 2, until: [star, slash], escapes: false)
      } else if byte == quote || byte == hash {
        var hashes = 0
        while at + hashes < bytes.count && bytes[at + hashes] == hash { hashes += 1 }
        let open = at + hashes
        guard open < bytes.count, bytes[open] == quote else {
          at += max(hashes, 1)
          continue
        }
        let quotes = bytes[open...].starts(with: [quote, quote, quote]) ? 3 : 1
        let end = [UInt8](repeating: quote, count: quotes) + [UInt8](repeating: hash, count: hashes)
        blank(from: open + quotes, until: end, escapes: hashes == 0)
      } else {
        at += 1
      }
    }
    return out
  }
}

private let newline = UInt8(ascii: "\n")
private let space = UInt8(ascii: " ")
private let slash = UInt8(ascii: "/")
private let star = UInt8(ascii: "*")
private let quote = UInt8(ascii: "\"")
private let hash = UInt8(ascii: "#")
private let backslash = UInt8(ascii: "\\")

private func isWordByte(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
    true
  default: false
  }
}

/// Records one issue per offender, so that each stands on a line of its own.
func expectNone(_ offenders: [String], sourceLocation: SourceLocation = #_sourceLocation) {
  for offender in offenders.prefix(50) {
    Issue.record("\(offender)", sourceLocation: sourceLocation)
  }
}

@Suite struct SourceTextTests {
  private func code(_ text: String) -> String {
    String(decoding: SourceText.withoutCommentsAndStrings(Array(text.utf8)), as: UTF8.self)
  }

  @Test func commentsAndStringTextsAreBlankedAndNothingElse() {
    #expect(code("a // b\nc") == "a     \nc")
    #expect(code("a /* b\n */ c") == "a     \n    c")
    #expect(code(#"x("try\" !", y)"#) == #"x(         , y)"#)
    #expect(code("#if DEBUG\nx") == "#if DEBUG\nx")
    #expect(code(##"let a = #"q"q"# + b"##) == "let a =         + b")
    #expect(code("\"\"\"\nas! \"\n\"\"\" z") == "   \n     \n    z")
  }

  @Test func placesAreWholeWordsWithTheirLine() {
    let file = SourceText(path: "p", bytes: Array("Page PageX\nXPage Page".utf8))
    #expect(file.places(of: "Page", in: file.bytes) == ["p:1", "p:2"])
  }

  @Test func thereIsSomethingToRead() {
    #expect(SourceText.swiftFiles.contains { $0.path == "Sources/BcachefsSupport/Invariant.swift" })
    #expect(SourceText.allFiles.contains { $0.path == "Makefile" })
  }
}
