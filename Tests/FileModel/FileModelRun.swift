// SPDX-License-Identifier: GPL-2.0
// Random operations on a filesystem beside a model of it.
//
// How it works
//   1. Each step does something to both; what the filesystem says must be what the model says.
//   2. `compare` walks the whole tree, by whatever can list and look: the filesystem itself, or a
//      reader of what was written.
// Invariants
//   (1) A seed repeats a run, on one thread.

public import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

/// What a tree can be read by.
public protocol FileTreeReader {
  func names(of directory: FileID) throws(VolumeError) -> [DirectoryEntry]
  func status(of file: FileID) throws(VolumeError) -> FileAttributes
  func allXattrs(of file: FileID) throws(VolumeError) -> [[UInt8]: [UInt8]]
  func linkTarget(of file: FileID) throws(VolumeError) -> [UInt8]
}

extension FileSystem: FileTreeReader {
  public func status(of file: FileID) throws(VolumeError) -> FileAttributes {
    try attributes(of: file)
  }

  public func names(of directory: FileID) throws(VolumeError) -> [DirectoryEntry] {
    var result: [DirectoryEntry] = []
    while true {
      let some = try entries(of: directory, from: result.last?.nextOffset ?? 0, limit: 7)
      if some.isEmpty { return result }
      result += some
    }
  }

  public func allXattrs(of file: FileID) throws(VolumeError) -> [[UInt8]: [UInt8]] {
    var result: [[UInt8]: [UInt8]] = [:]
    for name in try xattrNames(of: file) { result[name] = try xattr(name, of: file) }
    return result
  }

  public func linkTarget(of file: FileID) throws(VolumeError) -> [UInt8] { try target(of: file) }
}

extension Volume: FileTreeReader {
  public func status(of file: FileID) throws(VolumeError) -> FileAttributes {
    try attributes(file)
  }

  public func names(of directory: FileID) throws(VolumeError) -> [DirectoryEntry] {
    try entries(of: directory)
  }

  public func allXattrs(of file: FileID) throws(VolumeError) -> [[UInt8]: [UInt8]] {
    var result: [[UInt8]: [UInt8]] = [:]
    for (name, value) in try xattrs(file) { result[name] = value }
    return result
  }

  public func linkTarget(of file: FileID) throws(VolumeError) -> [UInt8] { try readLink(file) }
}

/// A filesystem with a model beside it, below one directory.
public struct FileModelRun {
  public private(set) var model = ModelTree()
  /// What stands for the model's files.
  private var ids: [Int: FileID]
  private var random: SplitMix64
  private let names: [[UInt8]]
  /// Held by the run: the number, and how often.
  private var held: [Int] = []
  /// Operations that the model refused.
  public private(set) var refusals = 0

  /// - Parameters:
  ///   - top: A directory that nobody else changes: the model's root.
  ///   - names: That files get; few, so that they meet.
  public init(top: FileID, seed: UInt64, names: [[UInt8]] = Self.shortNames) {
    ids = [ModelTree.root: top]
    random = SplitMix64(seed: seed)
    self.names = names
  }

  /// Adopts a tree that is there.
  ///
  /// - Parameter hasDirectories: Directories other than the top may be renamed and removed.
  public init(adopting top: FileID, of reader: some FileTreeReader, seed: UInt64) throws {
    self.init(top: top, seed: seed)
    var numbers: [FileID: Int] = [top: ModelTree.root]
    model.change(ModelTree.root) { _ in }
    var directories = [top]
    while let directory = directories.popLast() {
      for entry in try reader.names(of: directory) {
        guard let parent = numbers[directory] else { continue }
        if let known = numbers[entry.id] {
          _ = model.link(known, as: entry.name, in: parent)
          continue
        }
        let file = try Self.file(entry.id, reader)
        if case .success(let number) = model.create(entry.name, in: parent, file) {
          model.change(number) { $0 = $0.with(file) }
          ids[number] = entry.id
          numbers[entry.id] = number
        }
        if file.kind == .directory { directories.append(entry.id) }
      }
    }
  }

  private static func file(
    _ id: FileID, _ reader: some FileTreeReader
  ) throws -> ModelTree.File {
    let found = try reader.status(of: id)
    let kind = try #require(found.kind)
    var file = ModelTree.File(
      kind: kind, permissions: found.mode & 0o7777, uid: found.inode.uid, gid: found.inode.gid)
    file.device = (found.inode.deviceMajor, found.inode.deviceMinor)
    file.xattrs = try reader.allXattrs(of: id)
    if kind == .symbolicLink { file.target = try reader.linkTarget(of: id) }
    return file
  }

  /// Names of a letter and a digit.
  public static let shortNames: [[UInt8]] = (0..<12).map { Array("n\($0)".utf8) }

  private mutating func below(_ limit: Int) -> Int {
    Int(truncatingIfNeeded: random.next() % UInt64(limit))
  }

  private mutating func anyName() -> [UInt8] { names[below(names.count)] }

  /// A name that is there, or any.
  private mutating func anyName(in directory: Int) -> [UInt8] {
    let there = model[directory].map { $0.entries.keys.sorted { $0.lexicographicallyPrecedes($1) } }
    guard let there, !there.isEmpty, below(2) == 0 else { return anyName() }
    return there[below(there.count)]
  }

  private mutating func any(_ isWanted: (ModelTree.File) -> Bool) -> Int? {
    model.file(from: below(model.numbersUsed), isWanted)
  }

  private mutating func anyDirectory() -> Int {
    any { $0.kind == .directory && $0.nameCount > 0 && !$0.hasACL } ?? ModelTree.root
  }

  private func id(_ file: Int) throws -> FileID { try #require(ids[file]) }

  /// Does something to both.
  public mutating func step(_ files: FileSystem) throws {
    switch below(20) {
    case 0..<5: try create(files)
    case 5: try makeLink(files)
    case 6, 7: try link(files)
    case 8..<11: try remove(files)
    case 11..<15: try rename(files)
    case 15: try change(files)
    case 16, 17: try changeXattr(files)
    case 18: try hold(files)
    default: try createUnnamed(files)
    }
  }

  /// Runs `body`, and compares why it fails with why it should.
  private mutating func expect(
    _ code: VolumeError.Code?, _ what: @autoclosure () -> String,
    _ body: () throws(VolumeError) -> Void
  ) {
    if code != nil { refusals += 1 }
    do throws(VolumeError) {
      try body()
      #expect(code == nil, "\(what()): done, though \(code.map { "\($0)" } ?? "")")
    } catch {
      #expect(error.code == code, "\(what()): \(error)")
    }
  }

  // MARK: - Steps

  private mutating func anyFile() -> (file: ModelTree.File, creation: FileCreation) {
    let kind: FileKind =
      [.regular, .regular, .directory, .directory, .fifo, .socket, .characterDevice][below(7)]
    var file = ModelTree.File(
      kind: kind, permissions: UInt16(below(0o10000)), uid: UInt32(below(5)), gid: UInt32(below(5)))
    var creation = FileCreation(kind, permissions: file.permissions)
    creation.uid = file.uid
    creation.gid = file.gid
    if kind == .characterDevice {
      file.device = (UInt32(1 + below(200)), UInt32(below(2000)))
      creation.deviceMajor = file.device.major
      creation.deviceMinor = file.device.minor
    }
    return (file, creation)
  }

  private mutating func create(_ files: FileSystem) throws {
    let (name, directory) = (anyName(), anyDirectory())
    let (file, creation) = anyFile()
    let parent = try id(directory)
    switch model.create(name, in: directory, file) {
    case .success(let number):
      var made: FileAttributes?
      expect(nil, "create \(name)") { () throws(VolumeError) in
        made = try files.create(name, in: parent, creation)
      }
      ids[number] = made?.id
    case .failure(.code(let code)):
      expect(code, "create \(name)") { () throws(VolumeError) in
        _ = try files.create(name, in: parent, creation)
      }
    }
  }

  private mutating func createUnnamed(_ files: FileSystem) throws {
    let directory = anyDirectory()
    let file = ModelTree.File(kind: .regular, permissions: 0o600, uid: 1, gid: 2)
    guard case .success(let number) = model.create(nil, in: directory, file) else { return }
    var creation = FileCreation(.regular, permissions: 0o600)
    (creation.uid, creation.gid) = (1, 2)
    ids[number] = try files.createUnnamed(in: id(directory), creation).id
    held.append(number)
  }

  private mutating func makeLink(_ files: FileSystem) throws {
    let (name, directory) = (anyName(), anyDirectory())
    var file = ModelTree.File(kind: .symbolicLink, permissions: 0o777, uid: 0, gid: 0)
    file.target = (0...below(200)).map { UInt8(1 + $0 % 255) }
    let parent = try id(directory)
    let target = file.target
    let outcome = model.create(name, in: directory, file)
    var code: VolumeError.Code?
    if case .failure(.code(let refused)) = outcome { code = refused }
    var made: FileAttributes?
    expect(code, "symlink \(name)") { () throws(VolumeError) in
      made = try files.makeLink(name, to: target, in: parent)
    }
    if case .success(let number) = outcome { ids[number] = made?.id }
  }

  private mutating func link(_ files: FileSystem) throws {
    let (name, directory) = (anyName(), anyDirectory())
    guard let file = any({ $0.nameCount > 0 || $0.kind == .regular }) else { return }
    let (id, parent) = (try id(file), try id(directory))
    expect(model.link(file, as: name, in: directory), "link \(name)") { () throws(VolumeError) in
      _ = try files.link(id, as: name, in: parent)
    }
  }

  private mutating func remove(_ files: FileSystem) throws {
    let (directory, isDirectory) = (anyDirectory(), below(3) == 0)
    let name = anyName(in: directory)
    let parent = try id(directory)
    let code = model.remove(name, in: directory, isDirectory: isDirectory)
    expect(code, "remove \(name), directory: \(isDirectory)") { () throws(VolumeError) in
      if isDirectory {
        try files.removeDirectory(name, in: parent)
      } else {
        try files.unlink(name, in: parent)
      }
    }
  }

  private mutating func rename(_ files: FileSystem) throws {
    let directory = anyDirectory()
    let newDirectory = below(3) == 0 ? directory : anyDirectory()
    let (name, newName) = (anyName(in: directory), anyName(in: newDirectory))
    let flags: RenameFlags = [[], [], [], .noReplace, .exchange, .whiteout][below(6)]
    let (from, to) = (try id(directory), try id(newDirectory))
    let code = model.rename(name, in: directory, to: newName, in: newDirectory, flags)
    expect(code, "rename \(name) to \(newName), \(flags)") { () throws(VolumeError) in
      try files.rename(name, in: from, to: newName, in: to, flags)
    }
    guard code == nil, flags.contains(.whiteout), let made = model.lookup(name, in: directory),
      ids[made] == nil
    else { return }
    ids[made] = try files.lookup(name, in: from).id
  }

  private mutating func change(_ files: FileSystem) throws {
    guard let file = any({ $0.kind != .symbolicLink && !$0.hasACL }) else { return }
    var change = AttributeChange()
    change.permissions = UInt16(below(0o10000))
    change.uid = UInt32(below(1000))
    change.modificationTime = Int64(below(1 << 40))
    let made = try files.change(id(file), change)
    #expect(made.modificationTime == change.modificationTime)
    model.change(file) {
      $0.permissions = change.permissions ?? 0
      $0.uid = change.uid ?? 0
    }
  }

  private mutating func changeXattr(_ files: FileSystem) throws {
    guard let file = any({ _ in true }), let found = model[file] else { return }
    // Linux shows those of users for files and directories only.
    let isPlain = found.kind == .regular || found.kind == .directory
    let name = Array("\(isPlain ? "user" : "trusted").x\(below(6))".utf8)
    let isThere = found.xattrs[name] != nil
    let id = try id(file)
    guard below(3) > 0 else {
      expect(isThere ? nil : .noAttribute, "remove xattr") { () throws(VolumeError) in
        try files.removeXattr(name, of: id)
      }
      model.change(file) { $0.xattrs[name] = nil }
      return
    }
    let value = [UInt8](repeating: UInt8(below(256)), count: below(300))
    let condition: XattrCondition = [.any, .new, .present][below(3)]
    var code: VolumeError.Code?
    switch condition {
    case .any: break
    case .new: code = isThere ? .exists : nil
    case .present: code = isThere ? nil : .noAttribute
    }
    expect(code, "set xattr, \(condition)") { () throws(VolumeError) in
      try files.setXattr(name, of: id, to: value, condition)
    }
    if code == nil { model.change(file) { $0.xattrs[name] = value } }
  }

  private mutating func hold(_ files: FileSystem) throws {
    if held.count > 8 || below(3) == 0, !held.isEmpty {
      try letGo(held.remove(at: below(held.count)), files)
    } else if let file = any({ $0.nameCount > 0 }) {
      try files.hold(id(file))
      model.hold(file)
      held.append(file)
    }
  }

  private mutating func letGo(_ file: Int, _ files: FileSystem) throws {
    let found = try files.attributes(of: id(file))
    #expect(found.linkCount == model.linkCount(of: file))
    try files.letGo(id(file))
    model.letGo(file)
    if model[file] == nil {
      let id = try id(file)
      expect(.notFound, "a file that is gone") { () throws(VolumeError) in
        _ = try files.attributes(of: id)
      }
      refusals -= 1
    }
  }

  /// Lets go of everything.
  public mutating func letGoOfAll(_ files: FileSystem) throws {
    for file in held { try letGo(file, files) }
    held = []
  }

  // MARK: - Comparison

  /// Where a tree is not what the model says: a line each, the first few.
  ///
  /// - Parameter top: The model's root there.
  public func differences(
    in reader: some FileTreeReader, top: FileID, comparesNumbers: Bool = true
  ) throws -> [String] {
    var lines: [String] = []
    var seen: [Int: FileID] = [:]
    try compare(ModelTree.root, top, "", reader, &seen, &lines)
    if comparesNumbers {
      for (file, id) in seen where file != ModelTree.root && ids[file]?.inode != id.inode {
        lines.append("file \(file) is \(id), not \(ids[file].map { "\($0)" } ?? "nothing")")
      }
    }
    return Array(lines.prefix(8))
  }

  private func compare(
    _ file: Int, _ id: FileID, _ path: String, _ reader: some FileTreeReader,
    _ seen: inout [Int: FileID], _ lines: inout [String]
  ) throws {
    guard let expected = model[file] else { return }
    if let before = seen[file] {
      if before != id { lines.append("\(path): \(id), and \(before) by another name") }
      return
    }
    seen[file] = id
    let found = try reader.status(of: id)
    func compare(_ what: String, _ here: some Equatable, _ there: some Equatable) {
      let (here, there) = ("\(here)", "\(there)")
      if here != there { lines.append("\(path): \(what) is \(here), not \(there)") }
    }
    if file != ModelTree.root {
      compare("mode", found.mode, expected.kind.rawValue | expected.permissions)
      compare("uid", found.inode.uid, expected.uid)
      compare("gid", found.inode.gid, expected.gid)
      if expected.kind.isDevice {
        compare("major", found.inode.deviceMajor, expected.device.major)
        compare("minor", found.inode.deviceMinor, expected.device.minor)
      }
    }
    guard found.kind == expected.kind else { return }
    compare("links", found.linkCount, model.linkCount(of: file))
    let xattrs = try reader.allXattrs(of: id)
    if xattrs != expected.xattrs { lines.append("\(path): xattrs") }
    if expected.kind == .symbolicLink {
      compare("target", try reader.linkTarget(of: id), expected.target)
    }
    guard expected.kind == .directory else { return }
    let entries = try reader.names(of: id)
    if entries.count != Set(entries.map(\.name)).count { lines.append("\(path): a name twice") }
    for entry in entries {
      guard let child = expected.entries[entry.name] else {
        lines.append("\(path)/\(entry.text): should not be there")
        continue
      }
      try self.compare(child, entry.id, "\(path)/\(entry.text)", reader, &seen, &lines)
    }
    for name in expected.entries.keys where !entries.contains(where: { $0.name == name }) {
      lines.append("\(path)/\(String(decoding: name, as: UTF8.self)): missing")
    }
  }
}
