// SPDX-License-Identifier: GPL-2.0
// A tree of files in memory that does what a filesystem should: what tests compare one with.
//
// How it works
//   1. A file is a number; directories map names to numbers. Each operation either changes the tree
//      or says by which code it is refused.
//   2. Directories know the one that they are in, files how many names they have.
// Invariants
//   (1) A file without a name, that nobody holds, is not there.

public import Bcachefs
internal import BcachefsSupport

/// A tree of files.
public struct ModelTree: Sendable {
  /// A file of the tree.
  public struct File: Sendable {
    public let kind: FileKind
    public var permissions: UInt16
    public var uid: UInt32
    public var gid: UInt32
    public var xattrs: [[UInt8]: [UInt8]] = [:]
    public var target: [UInt8] = []
    public var device: (major: UInt32, minor: UInt32) = (0, 0)
    /// Of a directory.
    public var entries: [[UInt8]: Int] = [:]
    public var parent: Int?
    /// Names of a file; directories have one.
    public var nameCount = 0
    public var holders = 0

    /// Whether it has a list, of which the model knows nothing but that it is there.
    var hasACL: Bool {
      xattrs.keys.contains { $0.starts(with: "system.posix_acl".utf8) }
    }

    /// What it is in the tree, with the attributes of another one.
    func with(_ other: File) -> File {
      var result = other
      result.parent = parent
      result.nameCount = nameCount
      return result
    }
  }

  public private(set) var files: [Int: File] = [:]
  private var next = 1
  /// The root directory's number.
  public static let root = 0

  /// A tree of a root directory.
  public init() {
    files[Self.root] = File(kind: .directory, permissions: 0o755, uid: 0, gid: 0)
    files[Self.root]?.nameCount = 1
  }

  public subscript(file: Int) -> File? { files[file] }

  /// All numbers are below it.
  var numbersUsed: Int { next }

  /// The first file of a kind from a number on, and then from the first one on.
  func file(from number: Int, _ isWanted: (File) -> Bool) -> Int? {
    let numbers = [number..<next, 0..<number]
    for candidate in numbers.joined() {
      if let file = files[candidate], isWanted(file) { return candidate }
    }
    return nil
  }

  /// Whether a file is a directory that names can be made in.
  public func isDirectory(_ file: Int) -> Bool {
    guard let found = files[file] else { return false }
    return found.kind == .directory && found.nameCount > 0
  }

  public func lookup(_ name: [UInt8], in directory: Int) -> Int? {
    files[directory]?.entries[name]
  }

  /// How many links stat(2) tells of.
  public func linkCount(of file: Int) -> UInt32 {
    guard let found = files[file] else { return 0 }
    guard found.kind == .directory else { return UInt32(found.nameCount) }
    guard found.nameCount > 0 else { return 0 }
    let below = found.entries.values.filter { files[$0]?.kind == .directory }.count
    return UInt32(2 + below)
  }

  // MARK: - Operations

  /// Makes a file; without a name it is held once.
  public mutating func create(
    _ name: [UInt8]?, in directory: Int, _ file: File
  ) -> Result<Int, ModelError> {
    if let name, lookup(name, in: directory) != nil { return .failure(.code(.exists)) }
    let number = next
    next += 1
    var file = file
    if let parent = files[directory], parent.permissions & 0o2000 != 0 {
      file.gid = parent.gid
      if file.kind == .directory { file.permissions |= 0o2000 }
    }
    files[number] = file
    if let name {
      attach(number, name, directory)
    } else {
      files[number]?.holders = 1
    }
    return .success(number)
  }

  public mutating func link(
    _ file: Int, as name: [UInt8], in directory: Int
  ) -> VolumeError.Code? {
    if files[file]?.kind == .directory { return .notPermitted }
    if lookup(name, in: directory) != nil { return .exists }
    attach(file, name, directory)
    return nil
  }

  public mutating func remove(
    _ name: [UInt8], in directory: Int, isDirectory: Bool
  ) -> VolumeError.Code? {
    guard let number = lookup(name, in: directory), let found = files[number] else {
      return .notFound
    }
    guard (found.kind == .directory) == isDirectory else {
      return isDirectory ? .notADirectory : .isADirectory
    }
    if !found.entries.isEmpty { return .notEmpty }
    detach(number, name, directory)
    return nil
  }

  public mutating func rename(
    _ name: [UInt8], in directory: Int, to newName: [UInt8], in newDirectory: Int,
    _ flags: RenameFlags
  ) -> VolumeError.Code? {
    if flags.contains(.exchange), flags != .exchange { return .invalid }
    guard let source = lookup(name, in: directory), let moved = files[source] else {
      return .notFound
    }
    let target = lookup(newName, in: newDirectory)
    if target != nil, flags.contains(.noReplace) { return .exists }
    if target == source { return nil }
    if target == nil, flags.contains(.exchange) { return .notFound }
    if let target, let replaced = files[target], !flags.contains(.exchange) {
      guard (replaced.kind == .directory) == (moved.kind == .directory) else {
        return replaced.kind == .directory ? .isADirectory : .notADirectory
      }
      if !replaced.entries.isEmpty { return .notEmpty }
    }
    if directory != newDirectory {
      if isAbove(source, newDirectory) { return .loop }
      if flags.contains(.exchange), let target, isAbove(target, directory) { return .loop }
    }
    detachName(source, name, directory)
    if let target {
      if flags.contains(.exchange) {
        detachName(target, newName, newDirectory)
        attach(target, name, directory)
      } else {
        detach(target, newName, newDirectory)
      }
    }
    attach(source, newName, newDirectory)
    if flags.contains(.whiteout) {
      _ = create(
        name, in: directory, File(kind: .characterDevice, permissions: 0, uid: 0, gid: 0))
    }
    return nil
  }

  /// Changes a file that is there.
  public mutating func change(_ file: Int, _ body: (inout File) -> Void) {
    if var found = files[file] {
      body(&found)
      files[file] = found
    }
  }

  public mutating func hold(_ file: Int) { files[file]?.holders += 1 }

  public mutating func letGo(_ file: Int) {
    files[file]?.holders -= 1
    forgetIfGone(file)
  }

  // MARK: - Parts

  /// Whether a directory is another one, or above it.
  private func isAbove(_ directory: Int, _ other: Int) -> Bool {
    var next: Int? = other
    while let at = next {
      if at == directory { return true }
      next = files[at]?.parent
    }
    return false
  }

  private mutating func attach(_ file: Int, _ name: [UInt8], _ directory: Int) {
    files[directory]?.entries[name] = file
    files[file]?.nameCount += 1
    if files[file]?.kind == .directory { files[file]?.parent = directory }
  }

  private mutating func detachName(_ file: Int, _ name: [UInt8], _ directory: Int) {
    files[directory]?.entries[name] = nil
    files[file]?.nameCount -= 1
  }

  private mutating func detach(_ file: Int, _ name: [UInt8], _ directory: Int) {
    detachName(file, name, directory)
    if files[file]?.nameCount == 0 { files[file]?.parent = nil }
    forgetIfGone(file)
  }

  private mutating func forgetIfGone(_ file: Int) {
    if let found = files[file], found.nameCount == 0, found.holders == 0 { files[file] = nil }
  }
}

/// Why the model refuses something.
public enum ModelError: Error, Sendable {
  case code(VolumeError.Code)
}
