// SPDX-License-Identifier: GPL-2.0
// Subvolumes in memory, and random operations on them and on a filesystem at once: files with
// contents, directories, subvolumes within subvolumes, snapshots of them.

public import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

/// What a filesystem's subvolumes should show.
public struct SubvolumeModel {
  private enum Node: Equatable {
    case directory
    case file([UInt8])
    case subvolume(Int)
  }

  private struct Tree {
    let id: UInt32
    let root: FileID
    /// By their paths within the subvolume.
    var nodes: [String: Node] = [:]
    var isReadOnly = false
    /// Where its name is: another tree and the path there.
    var place: (tree: Int, path: String)?

    func children(of path: String) -> [String] {
      nodes.keys.filter { $0.hasPrefix(path.isEmpty ? "" : path + "/") && $0 != path }
        .filter { !$0.dropFirst(path.isEmpty ? 0 : path.utf8.count + 1).contains("/") }
    }
  }

  private var trees: [Int: Tree] = [:]
  private var nextTree = 1
  private var random: SplitMix64
  /// How many of each were made.
  public private(set) var snapshots = 0
  public private(set) var deletions = 0
  private let subvolumesMax: Int
  /// Whether what is left of deleted subvolumes is cleaned up now and then.
  public var cleansUp = true
  /// The file whose contents the last step changed: of that a crash may leave a part.
  private var written: (tree: Int, path: String)?
  /// What was there for a moment, within the last step.
  public private(set) var between: [SubvolumeModel] = []

  /// A new volume.
  public init(_ files: FileSystem, seed: UInt64, subvolumesMax: Int = 12) {
    trees[0] = Tree(id: 1, root: files.root, nodes: ["lost+found": .directory])
    random = SplitMix64(seed: seed)
    self.subvolumesMax = subvolumesMax
  }

  private mutating func below(_ limit: Int) -> Int { Int(random.next() % UInt64(limit)) }

  private mutating func pick<Element>(_ from: [Element]) -> Element { from[below(from.count)] }

  /// A tree to change.
  private mutating func anyTree() -> Int {
    pick(trees.filter { !$0.value.isReadOnly }.keys.sorted())
  }

  private mutating func anyDirectory(of tree: Int) -> String {
    let nodes = trees[tree]?.nodes ?? [:]
    return pick([""] + nodes.filter { $0.value == .directory }.keys.sorted())
  }

  private mutating func anyFile(of tree: Int) -> String? {
    let nodes = trees[tree]?.nodes ?? [:]
    let files = nodes.keys.sorted().filter { if case .file = nodes[$0] { true } else { false } }
    return files.isEmpty ? nil : pick(files)
  }

  private mutating func newPath(in tree: Int) -> String {
    let directory = anyDirectory(of: tree)
    return (directory.isEmpty ? "" : directory + "/") + "n\(below(14))"
  }

  private static func split(_ path: String) -> (directory: String, name: [UInt8]) {
    let parts = path.split(separator: "/")
    return (parts.dropLast().joined(separator: "/"), Array((parts.last ?? "").utf8))
  }

  private func id(_ path: String, of tree: Int, _ files: FileSystem) throws -> FileID {
    var id = try #require(trees[tree]).root
    for part in path.split(separator: "/") {
      id = try files.lookup(Array(part.utf8), in: id).id
    }
    return id
  }

  /// The numbers of the subvolumes that there are.
  public var ids: [UInt32] { trees.values.map(\.id).sorted() }

  // MARK: - Steps

  /// Does something to both.
  ///
  /// - Returns: what.
  public mutating func step(_ files: FileSystem) throws -> String {
    (written, between) = (nil, [])
    switch below(24) {
    case 0..<4: return try create(files)
    case 4..<6: return try makeDirectory(files)
    case 6..<12: return try write(files)
    case 12: return try truncate(files)
    case 13, 14: return try remove(files)
    case 15, 16: return try rename(files)
    case 17, 18: return try snapshot(files)
    case 19: return try makeSubvolume(files)
    case 20, 21: return try delete(files)
    case 22:
      guard cleansUp else { return "nothing" }
      try files.cleanSnapshots()
      return "clean"
    default: return try unlinkWhileOpen(files)
    }
  }

  private mutating func create(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    let path = newPath(in: tree)
    guard trees[tree]?.nodes[path] == nil else { return "nothing" }
    let (directory, name) = Self.split(path)
    _ = try files.create(
      name, in: id(directory, of: tree, files), FileCreation(.regular, permissions: 0o644))
    trees[tree]?.nodes[path] = .file([])
    return "create \(path) in \(tree)"
  }

  private mutating func makeDirectory(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    let path = newPath(in: tree)
    guard trees[tree]?.nodes[path] == nil else { return "nothing" }
    let (directory, name) = Self.split(path)
    _ = try files.create(
      name, in: id(directory, of: tree, files), FileCreation(.directory, permissions: 0o755))
    trees[tree]?.nodes[path] = .directory
    return "mkdir \(path) in \(tree)"
  }

  private mutating func write(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    guard let path = anyFile(of: tree), case .file(var bytes) = trees[tree]?.nodes[path] else {
      return "nothing"
    }
    let offset = below(40 << 10)
    let count = 1 + below(below(4) == 0 ? 120 << 10 : 9000)
    let fill = UInt8(below(256))
    let new = (0..<count).map { fill &+ UInt8(truncatingIfNeeded: $0 / 31) }
    written = (tree, path)
    try files.write(id(path, of: tree, files), new.rawBytes, at: UInt64(offset))
    if bytes.count < offset + count {
      bytes += [UInt8](repeating: 0, count: offset + count - bytes.count)
    }
    bytes.replaceSubrange(offset..<offset + count, with: new)
    trees[tree]?.nodes[path] = .file(bytes)
    return "write \(path) in \(tree), \(offset)..<\(offset + count)"
  }

  private mutating func truncate(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    guard let path = anyFile(of: tree), case .file(let bytes) = trees[tree]?.nodes[path] else {
      return "nothing"
    }
    written = (tree, path)
    let size = below(60 << 10)
    try files.truncate(id(path, of: tree, files), to: UInt64(size))
    let grown = bytes + [UInt8](repeating: 0, count: max(0, size - bytes.count))
    trees[tree]?.nodes[path] = .file(Array(grown.prefix(size)))
    return "truncate \(path) in \(tree) to \(size)"
  }

  private mutating func remove(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    let paths = trees[tree]?.nodes.keys.sorted().filter { $0 != "lost+found" } ?? []
    guard !paths.isEmpty else { return "nothing" }
    let path = pick(paths)
    let (directory, name) = Self.split(path)
    let parent = try id(directory, of: tree, files)
    switch trees[tree]?.nodes[path] {
    case .file: try files.unlink(name, in: parent)
    case .directory where trees[tree]?.children(of: path).isEmpty == true:
      try files.removeDirectory(name, in: parent)
    default: return "nothing"
    }
    trees[tree]?.nodes[path] = nil
    return "remove \(path) in \(tree)"
  }

  private mutating func rename(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    guard let path = anyFile(of: tree) else { return "nothing" }
    let new = newPath(in: tree)
    switch trees[tree]?.nodes[new] {
    case nil, .file: break
    default: return "nothing"
    }
    let ((directory, name), (newDirectory, newName)) = (Self.split(path), Self.split(new))
    try files.rename(
      name, in: id(directory, of: tree, files), to: newName,
      in: id(newDirectory, of: tree, files))
    let moved = trees[tree]?.nodes.removeValue(forKey: path)
    trees[tree]?.nodes[new] = moved
    return "rename \(path) to \(new) in \(tree)"
  }

  /// A file without a name is written to, and let go of after a snapshot, perhaps.
  private mutating func unlinkWhileOpen(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    guard let path = anyFile(of: tree) else { return "nothing" }
    let (directory, name) = Self.split(path)
    let file = try id(path, of: tree, files)
    try files.hold(file)
    try files.unlink(name, in: id(directory, of: tree, files))
    trees[tree]?.nodes[path] = nil
    var moment = self
    moment.between = []
    between = [moment]
    var what = "unlink \(path) in \(tree), open"
    if below(2) == 0 {
      what += try ", " + snapshot(files, of: tree)
      if below(2) == 0 { try files.write(file, [1, 2, 3].rawBytes, at: 0) }
    }
    try files.letGo(file)
    return what
  }

  private mutating func makeSubvolume(_ files: FileSystem) throws -> String {
    let tree = anyTree()
    let path = newPath(in: tree)
    guard trees[tree]?.nodes[path] == nil, trees.count < subvolumesMax else { return "nothing" }
    let (directory, name) = Self.split(path)
    let made = try files.createSubvolume(
      name, in: id(directory, of: tree, files), FileCreation(.directory, permissions: 0o755))
    #expect(made.linkCount == 2)
    trees[nextTree] = Tree(id: made.id.subvolume, root: made.id, place: (tree, path))
    trees[tree]?.nodes[path] = .subvolume(nextTree)
    nextTree += 1
    return "subvolume \(path) in \(tree): \(made.id)"
  }

  private mutating func snapshot(_ files: FileSystem) throws -> String {
    try snapshot(files, of: pick(trees.keys.sorted()))
  }

  private mutating func snapshot(_ files: FileSystem, of source: Int) throws -> String {
    let tree = anyTree()
    let path = newPath(in: tree)
    guard trees[tree]?.nodes[path] == nil, trees.count < subvolumesMax,
      let from = trees[source]
    else { return "nothing" }
    let (directory, name) = Self.split(path)
    let isReadOnly = below(3) == 0
    let made = try files.createSnapshot(
      of: from.id, as: name, in: id(directory, of: tree, files), isReadOnly: isReadOnly)
    var new = Tree(id: made.id.subvolume, root: made.id, place: (tree, path))
    new.isReadOnly = isReadOnly
    new.nodes = from.nodes.filter { if case .subvolume = $0.value { false } else { true } }
    trees[nextTree] = new
    trees[tree]?.nodes[path] = .subvolume(nextTree)
    nextTree += 1
    snapshots += 1
    return "snapshot of \(source) as \(path) in \(tree): \(made.id)"
  }

  private mutating func delete(_ files: FileSystem) throws -> String {
    guard trees.count > 1 else { return "nothing" }
    let victim = pick(trees.keys.sorted().filter { $0 != 0 })
    guard let tree = trees[victim], let place = tree.place else { return "nothing" }
    let (directory, name) = Self.split(place.path)
    let parent = try id(directory, of: place.tree, files)
    let hasChildren = trees.values.contains { $0.place?.tree == victim }
    if trees[place.tree]?.isReadOnly == true {
      expect(.readOnly) { () throws(VolumeError) in try files.deleteSubvolume(name, in: parent) }
      return "refused"
    }
    if hasChildren {
      expect(.notEmpty) { () throws(VolumeError) in try files.deleteSubvolume(name, in: parent) }
      return "refused"
    }
    try files.deleteSubvolume(name, in: parent)
    expect(.notFound) { () throws(VolumeError) in _ = try files.attributes(of: tree.root) }
    trees[place.tree]?.nodes[place.path] = nil
    trees[victim] = nil
    deletions += 1
    return "delete \(victim), \(tree.id)"
  }

  private func expect(_ code: VolumeError.Code, _ body: () throws(VolumeError) -> Void) {
    do throws(VolumeError) {
      try body()
      Issue.record("done, though \(code)")
    } catch {
      #expect(error.code == code)
    }
  }

  // MARK: - Comparison

  /// The contents of all files, by their paths from the volume's root.
  public var contents: [String: [UInt8]] {
    var result: [String: [UInt8]] = [:]
    collect(0, "", &result)
    return result
  }

  private func collect(_ number: Int, _ prefix: String, _ result: inout [String: [UInt8]]) {
    for (path, node) in trees[number]?.nodes ?? [:] {
      switch node {
      case .directory: break
      case .file(let bytes): result[prefix + path] = bytes
      case .subvolume(let child): collect(child, prefix + path + "/", &result)
      }
    }
  }

  /// Where subvolumes are not what the model says: a line each, the first few.
  ///
  /// - Parameter afterCrash: The contents that the last step changed may be anything.
  public func differences(
    in reader: some FileTreeReader, _ contents: (FileID) throws -> [UInt8],
    afterCrash: Bool = false
  ) throws -> [String] {
    var lines: [String] = []
    let root = FileID(subvolume: 1, inode: Positions.rootInode)
    try compare(0, root, reader, contents, afterCrash, &lines)
    return Array(lines.prefix(8))
  }

  private func compare(
    _ number: Int, _ root: FileID, _ reader: some FileTreeReader,
    _ contents: (FileID) throws -> [UInt8], _ afterCrash: Bool, _ lines: inout [String]
  ) throws {
    let tree = try #require(trees[number])
    if root.subvolume != tree.id { lines.append("tree \(number) is \(root), not \(tree.id)") }
    var waiting = [("", root)]
    var seen: Set<String> = []
    while let (folder, id) = waiting.popLast() {
      for entry in try reader.names(of: id) {
        let path = (folder.isEmpty ? "" : folder + "/") + entry.text
        seen.insert(path)
        let what = "tree \(number), \(path)"
        switch tree.nodes[path] {
        case nil: lines.append("\(what): should not be there")
        case .directory:
          if entry.kind == .directory, entry.id.subvolume == tree.id {
            waiting.append((path, entry.id))
          } else {
            lines.append("\(what): is \(entry.id), not a directory")
          }
        case .subvolume(let child):
          try compare(child, entry.id, reader, contents, afterCrash, &lines)
        case .file(let bytes):
          if afterCrash, let written, written == (number, path) { continue }
          let status = try reader.status(of: entry.id)
          let found = try contents(entry.id)
          if found != bytes || status.byteCount != UInt64(bytes.count) {
            let first = zip(found, bytes).enumerated().first { $1.0 != $1.1 }?.offset
            lines.append(
              "\(what): \(found.count) bytes, not \(bytes.count), differs at \(first ?? -1)")
          }
        }
      }
    }
    for path in tree.nodes.keys where !seen.contains(path) {
      lines.append("tree \(number), \(path): missing")
    }
  }

  public func differences(in files: FileSystem, afterCrash: Bool = false) throws -> [String] {
    try differences(in: files, { id in try files.allBytes(of: id) }, afterCrash: afterCrash)
  }

  public func differences(in volume: Volume) throws -> [String] {
    try differences(
      in: volume,
      { id in
        let handle = try volume.open(id)
        var bytes = [UInt8](repeating: 0xee, count: Int(try volume.attributes(id).byteCount))
        var span = bytes.mutableRawBytes
        _ = try handle.read(from: 0, into: &span)
        return bytes
      })
  }
}

extension FileSystem {
  /// All contents of a file.
  public func allBytes(of file: FileID) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: Int(try attributes(of: file).byteCount))
    var span = bytes.mutableRawBytes
    let count = try read(file, from: 0, into: &span)
    return Array(bytes.prefix(count))
  }
}
