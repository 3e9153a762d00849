// SPDX-License-Identifier: GPL-2.0
// Taste that a machine can check, one rule a test; each offender is an issue with its place.
//
// How it works
//   1. `SourceText` has every file of the checkout. A rule is a search over them.
//   2. An exception is an entry of a list here, with its reason: never a mark in the source.
// Invariants
//   (1) An exception that is no longer needed is an offender itself.

internal import TestSupport
internal import Testing

@Suite struct TidyTests {
  static let lineColumns = 100
  /// In tables, where a row is a line.
  static let tableColumns = 170
  static let fileLines = 700
  static let essayLines = 200
  static let functionLines = 70

  /// Files over `fileLines`, with the reason.
  static let longFiles: [String: String] = [:]

  /// Files over `essayLines` without an essay: nothing in them but a table or plain values.
  static let filesWithoutEssay: [String: String] = [
    "Sources/BcachefsFormat/Tables/FsckErrorID.swift": "one table"
  ]

  @Test func everySwiftFileStartsWithItsLicence() {
    let head = Array("// SPDX-License-Identifier: GPL-2.0\n".utf8)
    // the tools' version must be the first line of the manifest
    let files = SourceText.swiftFiles.filter { !$0.path.hasSuffix("Package.swift") }
    expectNone(files.filter { !$0.bytes.starts(with: head) }.map { "\($0.path):1" })
  }

  @Test func noLineIsTooWide() {
    for file in SourceText.swiftFiles {
      let isTable = file.path.hasPrefix("Sources/BcachefsFormat/Tables/")
      let most = isTable ? Self.tableColumns : Self.lineColumns
      for (index, line) in file.lines.enumerated() where line.count > most {
        expectNone(["\(file.path):\(index + 1): \(line.count) columns"])
      }
    }
  }

  @Test func noFileIsTooLong() {
    for file in SourceText.swiftFiles {
      let count = file.lines.count - 1
      let excepted = Self.longFiles[file.path] != nil
      if count > Self.fileLines && !excepted { expectNone(["\(file.path): \(count) lines"]) }
      if count <= Self.fileLines && excepted { expectNone(["\(file.path): not too long any more"]) }
    }
  }

  @Test func everyLongSourceFileHasAnEssayWithItsInvariants() {
    for file in SourceText.swiftFiles where file.path.hasPrefix("Sources/") {
      let lines = file.lines
      let head = lines.prefix { $0.isEmpty || $0.hasPrefix("//") && !$0.hasPrefix("///") }
      let hasEssay = head.contains { $0.contains("Invariants") }
      let isLong = lines.count - 1 > Self.essayLines
      let excepted = Self.filesWithoutEssay[file.path] != nil
      if isLong && !hasEssay && !excepted {
        expectNone(["\(file.path):1: \(lines.count - 1) lines, no Invariants in its head comment"])
      }
      if excepted && (hasEssay || !isLong) {
        expectNone(["\(file.path): needs no exception any more"])
      }
    }
  }

  @Test func noFunctionIsTooLong() {
    for file in SourceText.swiftFiles {
      let lines = file.codeLines
      for (start, line) in lines.enumerated() where startsFunction(line) {
        // from the declaration to the line where its braces close
        var depth = 0
        var opened = false
        var end = start
        while end < lines.count {
          for character in lines[end].utf8 {
            if character == UInt8(ascii: "{") { depth += 1 }
            if character == UInt8(ascii: "}") { depth -= 1 }
            opened = opened || depth > 0
          }
          if opened ? depth <= 0 : lines[end].isEmpty { break }
          end += 1
        }
        let count = end - start + 1
        if count > Self.functionLines {
          expectNone(["\(file.path):\(start + 1): a function of \(count) lines"])
        }
      }
    }
  }

  private func startsFunction(_ line: String) -> Bool {
    let words = line.split(separator: " ")
    return words.contains("func") || words.contains { $0.hasPrefix("init(") }
  }

  @Test func nothingTrapsOutsideInvariants() {
    let traps = [
      "try!", "as!", "fatalError(", "precondition(", "preconditionFailure(", "assertionFailure(",
    ]
    for file in SourceText.swiftFiles where file.path != "Sources/BcachefsSupport/Invariant.swift" {
      for trap in traps {
        expectNone(file.places(of: trap, in: file.code).map { "\($0): \(trap)" })
      }
    }
  }

  @Test func everyUncheckedPromiseSaysWhyItIsSafe() {
    for file in SourceText.swiftFiles {
      let lines = file.lines
      for (index, line) in file.codeLines.enumerated() {
        guard line.contains("@unchecked Sendable") || line.contains("nonisolated(unsafe)") else {
          continue
        }
        let near = lines[max(0, index - 3)...min(lines.count - 1, index + 3)]
        if !near.contains(where: { $0.contains("// Safety:") }) {
          expectNone(["\(file.path):\(index + 1): no `// Safety:` line"])
        }
      }
    }
  }

  @Test func everyErrorInTheLayersBelowTheCommandHasAType() {
    let layers: Set = ["BcachefsSupport", "BcachefsFormat", "BcachefsIO", "Bcachefs"]
    for file in SourceText.swiftFiles where layers.contains(file.sourcesModule ?? "") {
      for (index, line) in file.codeLines.enumerated() {
        let words = line.split { !($0.isLetter || $0.isNumber || "_(@".contains($0)) }
        if words.contains("throws") {
          expectNone(["\(file.path):\(index + 1): throws without a type"])
        }
      }
    }
  }

  @Test func bytesBecomeTypedValuesInTheLayoutFolderOnly() {
    let layout = "Sources/BcachefsFormat/Layout/"
    for file in SourceText.swiftFiles
    where file.path.hasPrefix("Sources/BcachefsFormat/") && !file.path.hasPrefix(layout) {
      for call in ["load(", "assumingMemoryBound", "unsafeLoad", "unsafeLoadUnaligned"] {
        expectNone(file.places(of: call, in: file.code).map { "\($0): \(call)" })
      }
    }
  }

  @Test func sourcesAreASCII() {
    for file in SourceText.swiftFiles {
      var line = 1
      for byte in file.bytes {
        if byte == UInt8(ascii: "\n") { line += 1 }
        if byte >= 0x80 {
          expectNone(["\(file.path):\(line): not ASCII"])
          break
        }
      }
    }
  }
}
