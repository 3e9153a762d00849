// SPDX-License-Identifier: GPL-2.0
// The layers: which module may import what, and that each has its page.

internal import TestSupport
internal import Testing

@Suite struct LayeringTests {
  /// What a module of Sources may import. An arrow only points down this list.
  static let allowed: [(module: String, imports: Set<String>)] = [
    (
      "BcachefsSupport",
      [
        "CDeflate", "CISAL", "CLZ4", "CSodium", "CXXHash", "CZstd", "CLinuxShims", "Glibc",
        "Darwin", "Musl", "Synchronization",
      ]
    ),
    ("BcachefsFormat", ["BcachefsSupport"]),
    (
      "BcachefsIO",
      [
        "BcachefsSupport", "CBlkid", "CLinuxShims", "CLibURing", "Glibc", "Darwin", "Musl",
        "Synchronization", "SystemPackage",
      ]
    ),
    (
      "Bcachefs",
      [
        "BcachefsSupport", "BcachefsFormat", "BcachefsIO", "Synchronization", "Logging",
        "Collections", "DequeModule", "HeapModule", "OrderedCollections", "SystemPackage",
      ]
    ),
    (
      "BcachefsFUSE",
      [
        "Bcachefs", "BcachefsFormat", "BcachefsIO", "BcachefsSupport", "CFUSE", "CLinuxShims",
        "Glibc", "Logging", "Synchronization", "SystemPackage",
      ]
    ),
  ]

  /// Folders of the engine that touch the host's own files.
  static let hostFolders = ["Sources/Bcachefs/ImageBuilder/"]

  @Test func importsOnlyPointDown() {
    for file in SourceText.swiftFiles {
      guard let rule = Self.allowed.first(where: { $0.module == file.sourcesModule }) else {
        continue
      }
      let isHost = Self.hostFolders.contains { file.path.hasPrefix($0) }
      for (line, name) in imports(of: file) {
        let system = ["Glibc", "Darwin", "Musl", "CLinuxShims"].contains(name)
        if !rule.imports.contains(name) && !(isHost && system) {
          expectNone(["\(file.path):\(line): \(rule.module) must not import \(name)"])
        }
      }
    }
  }

  @Test func everyModuleHasARule() {
    let above: Set = ["BcachefsCommand", "BcachefsProgram", "BcachefsFuzz"]
    let known = above.union(Self.allowed.map(\.module))
    let modules = Set(SourceText.swiftFiles.compactMap(\.sourcesModule))
    expectNone(modules.subtracting(known).sorted().map { "Sources/\($0): no layering rule" })
  }

  @Test func everyImportSaysWhoSeesIt() {
    for file in SourceText.swiftFiles where file.path.hasPrefix("Sources/") {
      for (index, line) in file.codeLines.enumerated() where line.hasPrefix("import ") {
        expectNone(["\(file.path):\(index + 1): say public, internal or private"])
      }
    }
  }

  @Test func everySwiftModuleHasAPage() {
    let modules = Set(SourceText.swiftFiles.compactMap(\.sourcesModule)).sorted()
    for module in modules where !fileExists("\(repositoryRoot)/Sources/\(module)/README.md") {
      expectNone(["Sources/\(module): no README.md"])
    }
  }

  @Test func architecturePageNamesEveryModule() {
    let pages = SourceText.allFiles.filter { $0.path == "docs/ARCHITECTURE.md" }
    let modules = Set(SourceText.swiftFiles.compactMap(\.sourcesModule)).sorted()
    for page in pages {
      for module in modules where page.places(of: module, in: page.bytes).isEmpty {
        expectNone(["\(page.path): says nothing of \(module)"])
      }
    }
  }

  @Test func everyVariableOfTheTestsIsDocumented() throws {
    let page = String(
      decoding: try readFile("\(repositoryRoot)/docs/TESTING.md"), as: UTF8.self)
    for file in SourceText.allFiles {
      for line in file.lines {
        var rest = line[...]
        while let start = rest.firstRange(of: "BCACHEFS_TEST_") {
          let name = rest[start.lowerBound...].prefix { $0.isUppercase || $0 == "_" }
          rest = rest[start.upperBound...]
          // the prefix alone, as in a pattern
          if name == "BCACHEFS_TEST_" { continue }
          if !page.contains("`\(name)`") {
            expectNone(["\(file.path): docs/TESTING.md does not explain \(name)"])
          }
        }
      }
    }
  }

  @Test func resolvedVersionsAreNotKept() throws {
    let ignored = String(decoding: try readFile("\(repositoryRoot)/.gitignore"), as: UTF8.self)
    #expect(ignored.split(separator: "\n").contains("Package.resolved"))
  }

  /// The modules a file imports, each with its line.
  private func imports(of file: SourceText) -> [(line: Int, name: String)] {
    file.codeLines.enumerated().compactMap { index, line in
      let words = line.split { $0 == " " || $0 == "." }
      guard let at = words.firstIndex(of: "import"), at < 4, at + 1 < words.count else {
        return nil
      }
      let kinds: Set<Substring> = [
        "struct", "class", "enum", "protocol", "func", "var", "let", "typealias",
      ]
      let name = kinds.contains(words[at + 1]) ? words.dropFirst(at + 2).first : words[at + 1]
      return name.map { (index + 1, String($0)) }
    }
  }
}
