// SPDX-License-Identifier: GPL-2.0
// The walk over the source: numbers, places, links, and the order of it all.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

struct TreeScannerTests {
  private func parameters(_ hashType: StringHashType = .siphash) -> TreeScanner.Parameters {
    TreeScanner.Parameters(
      hashType: hashType, hashSeed: 99, timeBase: 0, isReproducible: true, blockBytes: 512,
      partBytes: 64 << 10, excluded: [])
  }

  private struct Walk: Equatable {
    struct Name: Equatable {
      let directory: UInt64
      let slot: UInt64
      let name: String
      let target: UInt64
    }

    var inodes: [Inode] = []
    var names: [Name] = []
    /// Bytes that each batch covers.
    var parts: [UInt64: [Range<UInt64>]] = [:]

    func target(_ name: String) -> UInt64? { names.first { $0.name == name }?.target }
    func inode(_ name: String) -> Inode? {
      target(name).flatMap { number in inodes.first { $0.number == number } }
    }
  }

  private func walk(_ path: String, _ parameters: TreeScanner.Parameters) throws -> Walk {
    let tree = try HostTree(path)
    let surveyor = TreeScanner(tree: tree, parameters: parameters)
    let survey = try surveyor.runSurvey(isCancelled: { false })
    let scanner = TreeScanner(tree: tree, survey: surveyor, parameters: parameters)
    var result = Walk()
    var batches = 0
    while let batch = try scanner.nextBatch() {
      #expect(batch.index == batches)
      batches += 1
      for step in batch.steps {
        switch step {
        case .inode(let item):
          result.parts[item.inode.number, default: []].append(item.dataRange)
          if item.isLastPart { result.inodes.append(item.inode) }
        case .dirents(let directory, let records):
          result.names += records.map {
            Walk.Name(
              directory: directory, slot: $0.slot,
              name: String(decoding: $0.name, as: UTF8.self), target: $0.target)
          }
        }
      }
    }
    // The survey does not count the lost+found that is made up.
    #expect(UInt64(result.inodes.count) >= survey.inodeCount)
    #expect(UInt64(result.inodes.count) <= survey.inodeCount + 1)
    return result
  }

  @Test(arguments: [StringHashType.siphash, .crc32c, .crc64])
  func keysLeaveInTheOrderOfTheirBTrees(type: StringHashType) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 5, scale: .tiny, files: 500)
      let walk = try walk(tree.path, parameters(type))
      let numbers = walk.inodes.map(\.number)
      #expect(numbers == Array(4096..<4096 + UInt64(numbers.count)))
      let places = walk.names.map { BPos($0.directory, $0.slot) }
      #expect(zip(places, places.dropFirst()).allSatisfy { $0 < $1 })
      // Every inode but the root has a name, and knows one of its places.
      let targets = Dictionary(grouping: walk.names, by: \.target)
      for inode in walk.inodes.dropFirst() {
        let names = try #require(targets[inode.number], "\(inode.number) has no name")
        #expect(
          names.contains { $0.directory == inode.directory && $0.slot == inode.directoryOffset })
      }
      #expect(try self.walk(tree.path, parameters(type)) == walk)
    }
  }

  @Test func namesOfOneFileShareItsInode() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree",
        script: "mkdir d; echo >a; ln a b; ln a d/c; echo >only; mkfifo p; ln p d/q; ln -s x s")
      let walk = try walk(tree.path, parameters())
      #expect(walk.target("a") == walk.target("b"))
      #expect(walk.target("a") == walk.target("c"))
      #expect(walk.target("p") == walk.target("q"))
      // `bi_nlink` counts from one for all but directories.
      #expect(walk.inode("a")?.nlink == 2)
      #expect(walk.inode("p")?.nlink == 1)
      #expect(walk.inode("only")?.nlink == 0)
      #expect(walk.inode("s")?.nlink == 0)
    }
  }

  /// A link from outside of the tree does not count.
  @Test func linksFromElsewhereDoNotCount() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree", script: "echo >inside; ln inside ../outside")
      #expect(try walk(tree.path, parameters()).inode("inside")?.nlink == 0)
    }
  }

  @Test func directoriesCountTheirSubdirectories() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree", script: "mkdir -p a/b/c a/d e; echo >a/f; ln -s a g")
      let walk = try walk(tree.path, parameters())
      // a, e and lost+found
      #expect(walk.inodes.first?.nlink == 3)
      #expect(walk.inode("a")?.nlink == 2)
      #expect(walk.inode("b")?.nlink == 1)
      #expect(walk.inode("c")?.nlink == 0)
      #expect(walk.inode("lost+found")?.mode == 0o40700)
    }
  }

  @Test func sourcesOwnLostAndFoundIsTaken() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree", script: "mkdir -m 755 lost+found; echo >lost+found/x")
      let walk = try walk(tree.path, parameters())
      #expect(walk.names.filter { $0.name == "lost+found" }.count == 1)
      #expect(walk.inode("lost+found")?.mode == 0o40755)
      #expect(walk.inodes.first?.nlink == 1)
    }
  }

  @Test func largeFilesAreCutIntoWholeParts() throws {
    try withTemporaryFolder { folder in
      try writeFile("\(folder)/file", [UInt8](repeating: 1, count: (64 << 10) * 3 + 5))
      let walk = try walk(folder, parameters())
      let number = try #require(walk.target("file"))
      #expect(
        walk.parts[number] == [
          0..<65536, 65536..<131_072, 131_072..<196_608, 196_608..<196_613,
        ])
    }
  }

  @Test func holesOfLargeFilesAreSkipped() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree",
        script: """
          truncate -s 1T file
          printf x | dd of=file bs=1 seek=$((1 << 39)) conv=notrunc status=none
          """)
      let walk = try walk(tree.path, parameters())
      let parts = try #require(walk.target("file").flatMap { walk.parts[$0] })
      #expect(parts.count == 1)
      #expect(parts.first?.contains(1 << 39) == true)
      #expect((parts.first?.count ?? .max) <= 64 << 10)
      #expect(walk.inode("file")?.size == 1 << 40)
    }
  }
}
