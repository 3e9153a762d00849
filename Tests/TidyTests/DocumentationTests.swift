// SPDX-License-Identifier: GPL-2.0
// The library's documentation: samples that compile, and a sentence for everything public.

internal import TestSupport
internal import Testing

@Suite struct DocumentationTests {
  /// The article's samples are parts of the example program, which is built and run.
  @Test func samplesOfTheArticleStandInTheExample() throws {
    let article = try text("Sources/Bcachefs/Bcachefs.docc/ReadAVolume.md")
    let example = try text("Examples/ReadVolume/ReadVolume.swift").map(trimmed)
    var samples: [[String]] = []
    var current: [String]?
    for line in article {
      if let sample = current {
        current = line == "```" ? nil : sample + [trimmed(line)]
        if line == "```" { samples.append(sample) }
      } else if line == "```swift" {
        current = []
      }
    }
    #expect(samples.count > 5 && current == nil)
    for sample in samples {
      let found = example.indices.contains { example[$0...].starts(with: sample) }
      #expect(found, "no such lines in the example: \(sample.first ?? "")")
    }
  }

  @Test func everythingPublicInTheEngineIsDocumented() {
    var missing: [String] = []
    for file in SourceText.swiftFiles where file.path.hasPrefix("Sources/Bcachefs/") {
      let lines = file.lines
      for (index, line) in file.codeLines.enumerated() {
        let words = trimmed(line).split(separator: " ")
        guard words.first == "public", words.count > 1, words[1] != "import",
          words[1] != "extension"
        else { continue }
        var above = index
        repeat { above -= 1 } while above >= 0 && trimmed(lines[above]).hasPrefix("@")
        guard above < 0 || !trimmed(lines[above]).hasPrefix("///") else { continue }
        missing.append("\(file.path):\(index + 1): \(trimmed(line))")
      }
    }
    #expect(missing == [])
  }

  private func text(_ path: String) throws -> [String] {
    String(decoding: try readFile("\(repositoryRoot)/\(path)"), as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  private func trimmed(_ line: some StringProtocol) -> String {
    String(line.drop { $0 == " " })
  }
}
