// SPDX-License-Identifier: GPL-2.0
// Unpacks an archive into a directory of a volume that nobody looks for.
//
// How it works
//   1. One thread reads the archive, and makes directories, links and nodes as they come, and files
//      with their names. The contents of small files go with their attributes to workers; large
//      files are written as they are read.
//   2. Directories get their attributes at the end: until then files are made in them.
//   3. What has the name of an earlier member takes its place, as in tar: first all workers are
//      waited for.
// Invariants
//   (1) Nothing is made outside: names are looked up one by one from the directory on, a symbolic
//       link is never followed, absolute names and those with `..` are refused, by name.
//   (2) The first thing that is wrong ends it.
//   (3) Memory is bounded by the queue, and grows with the number of directories.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

final class TarImport {
  /// Files of at most so many bytes go to workers.
  private static let smallBytes: UInt64 = 1 << 20

  /// A file whose contents a worker writes.
  private struct PendingFile {
    let id: FileID
    let path: [UInt8]
    let contents: HeapBuffer?
    let entry: TarEntry
    /// Bytes that were written already.
    var written: UInt64 = 0
  }

  private let system: FileSystem
  private let root: FileID
  private let reader: TarReader
  private let progress: TransferProgress
  private let failure = FirstFailure()
  private let workers: Int
  private var pool: WorkerPool?
  private let buffer = HeapBuffer(byteCount: 1 << 20)
  private var directories: [FileID: NewAttributes] = [:]
  /// The directory of the last member, which is mostly that of the next one.
  private var last: (names: [[UInt8]], id: FileID)
  /// What the archive says of its root.
  private(set) var rootAttributes: NewAttributes?
  private(set) var memberCount: UInt64 = 0

  /// - Parameter root: A new directory.
  init(
    _ reader: TarReader, into root: FileID, of system: FileSystem, progress: TransferProgress,
    workers: Int
  ) {
    self.reader = reader
    self.root = root
    self.system = system
    self.progress = progress
    self.workers = workers
    last = ([], root)
    restartPool()
  }

  /// Unpacks all members.
  ///
  /// - Throws: the first thing that is wrong; a part is there then.
  func run() throws(CommandFailure) {
    do throws(CommandFailure) {
      while let entry = try reader.next() {
        try ChangeReport.checkInterruption()
        try failure.check()
        try add(entry)
        memberCount += 1
      }
    } catch {
      failure.add(error)
    }
    pool = nil
    try failure.check()
    // Workers that were asked to end have left files out.
    try ChangeReport.checkInterruption()
    for (id, attributes) in directories {
      try making([]) { () throws(VolumeError) in
        try attributes.give(to: id, of: system, isDirectory: true, clearsLists: false)
      }
    }
  }

  private func restartPool() {
    pool = nil
    pool = WorkerPool(workers: workers, queueDepth: 4 * workers)
  }

  // MARK: - Names

  /// The names of a path, none for the root.
  ///
  /// - Throws: for a path that leads out of the archive.
  private func names(
    _ path: [UInt8], of entry: TarEntry, _ what: String
  ) throws(CommandFailure) -> [[UInt8]] {
    let slash = UInt8(ascii: "/")
    func refusal(_ why: String) -> CommandFailure {
      TarError.failure(
        "\(SafeText.text(entry.member.name)): \(what)\(why): it would lead out of the archive",
        at: entry.offset)
    }
    if path.first == slash { throw refusal(" is absolute") }
    let names = path.split(separator: slash).filter { !$0.elementsEqual(".".utf8) }.map(Array.init)
    if names.contains(where: { $0.elementsEqual("..".utf8) }) { throw refusal(" has \"..\" in it") }
    return names
  }

  /// The directory that names lead to, which is made if it is not there.
  private func directory(
    _ names: [[UInt8]], _ entry: TarEntry
  ) throws(CommandFailure) -> FileID {
    if names == last.names { return last.id }
    var reached = root
    for name in names {
      reached = try making(entry.member.name) { () throws(VolumeError) in
        do throws(VolumeError) {
          let found = try system.lookup(name, in: reached)
          guard found.kind == .directory else {
            throw VolumeError(
              .notADirectory, "\(SafeText.text(name)) on the way to it is no directory")
          }
          return found.id
        } catch {
          guard error.code == .notFound else { throw error }
          return try system.create(
            name, in: reached, FileCreation(.directory, permissions: 0o755)
          ).id
        }
      }
    }
    last = (names, reached)
    return reached
  }

  // MARK: - Members

  private func add(_ entry: TarEntry) throws(CommandFailure) {
    var names = try self.names(entry.member.name, of: entry, "its name")
    guard let name = names.popLast() else {
      guard entry.member.kind == .directory else {
        throw TarError.failure("a member has no name", at: entry.offset)
      }
      rootAttributes = NewAttributes(entry)
      return
    }
    let parent = try directory(names, entry)
    if entry.member.kind == .directory { return try addDirectory(entry, name, in: parent) }
    let target: [[UInt8]] =
      try entry.member.kind == .hardLink
      ? self.names(entry.member.linkTarget, of: entry, "what it links to") : []
    if try !make(entry, name, in: parent, target) {
      try makeRoom(for: entry, name, in: parent)
      guard try make(entry, name, in: parent, target) else {
        throw CommandFailure(VolumeError(.exists), at: entry.member.name)
      }
    }
  }

  /// Makes what a member is.
  ///
  /// - Returns: false where the name is taken.
  private func make(
    _ entry: TarEntry, _ name: [UInt8], in parent: FileID, _ target: [[UInt8]]
  ) throws(CommandFailure) -> Bool {
    let made: FileID? = try making(entry.member.name) { () throws(VolumeError) in
      do throws(VolumeError) {
        return try makeFile(entry, name, in: parent, target).id
      } catch {
        guard error.code == .exists else { throw error }
        return nil
      }
    }
    guard let made else { return false }
    switch entry.member.kind {
    case .hardLink: progress.finishFile(bytes: 0, isSkipped: false)
    case .regular: try addContents(entry, to: made)
    default: submit(PendingFile(id: made, path: entry.member.name, contents: nil, entry: entry))
    }
    return true
  }

  private func makeFile(
    _ entry: TarEntry, _ name: [UInt8], in parent: FileID, _ target: [[UInt8]]
  ) throws(VolumeError) -> FileAttributes {
    let member = entry.member
    let attributes = NewAttributes(entry)
    let kind: FileKind
    switch member.kind {
    case .hardLink:
      return try system.link(try file(target, for: entry), as: name, in: parent)
    case .symbolicLink:
      return try system.makeLink(
        name, to: member.linkTarget, in: parent, attributes.creation(.symbolicLink))
    case .characterDevice: kind = .characterDevice
    case .blockDevice: kind = .blockDevice
    case .fifo: kind = .fifo
    case .regular, .directory, .extendedHeader: kind = .regular
    }
    guard !kind.isDevice || member.major < 4096 && member.minor < 1 << 20 else {
      throw VolumeError(.invalid, "device \(member.major):\(member.minor) is out of range")
    }
    return try system.create(
      name, in: parent, attributes.creation(kind, major: member.major, minor: member.minor))
  }

  /// A file that an earlier member made.
  private func file(_ names: [[UInt8]], for entry: TarEntry) throws(VolumeError) -> FileID {
    var reached = root
    for name in names {
      do throws(VolumeError) {
        reached = try system.lookup(name, in: reached).id
      } catch {
        guard error.code == .notFound || error.code == .notADirectory else { throw error }
        let target = SafeText.text(entry.member.linkTarget)
        throw VolumeError(.notFound, "it links to \(target), which is not before it in the archive")
      }
    }
    return reached
  }

  private func addDirectory(
    _ entry: TarEntry, _ name: [UInt8], in parent: FileID
  ) throws(CommandFailure) {
    let attributes = NewAttributes(entry)
    let path = entry.member.name
    let id = try making(path) { () throws(VolumeError) -> FileID? in
      do throws(VolumeError) {
        return try system.create(name, in: parent, attributes.creation(.directory)).id
      } catch {
        guard error.code == .exists else { throw error }
        let found = try system.lookup(name, in: parent)
        return found.kind == .directory ? found.id : nil
      }
    }
    if let id {
      directories[id] = attributes
      return progress.finishFile(bytes: 0, isSkipped: false)
    }
    try makeRoom(for: entry, name, in: parent)
    try addDirectory(entry, name, in: parent)
  }

  /// Takes the name from what an earlier member made.
  private func makeRoom(
    for entry: TarEntry, _ name: [UInt8], in parent: FileID
  ) throws(CommandFailure) {
    restartPool()
    try failure.check()
    try making(entry.member.name) { () throws(VolumeError) in
      try system.unlink(name, in: parent)
    }
  }

  // MARK: - Contents

  private func addContents(_ entry: TarEntry, to id: FileID) throws(CommandFailure) {
    let count = entry.ranges.reduce(0) { $0 + UInt64($1.count) }
    guard count > Self.smallBytes else {
      var contents: HeapBuffer?
      if count > 0 {
        let new = HeapBuffer(byteCount: Int(count))
        try reader.read(Int(count), into: new, at: 0)
        contents = new
      }
      return submit(
        PendingFile(id: id, path: entry.member.name, contents: contents, entry: entry))
    }
    let buffer = self.buffer
    for range in entry.ranges {
      var offset = range.lowerBound
      while offset < range.upperBound {
        try ChangeReport.checkInterruption()
        let part = Int(min(UInt64(buffer.byteCount), range.upperBound - offset))
        try reader.read(part, into: buffer, at: 0)
        try making(entry.member.name) { () throws(VolumeError) in
          try system.write(id, buffer.bytes.extracting(0..<part), at: offset, keepsTimes: true)
        }
        offset += UInt64(part)
      }
    }
    submit(
      PendingFile(
        id: id, path: entry.member.name, contents: nil, entry: entry, written: count))
  }

  private func submit(_ file: PendingFile) {
    let (system, progress, failure) = (system, progress, failure)
    pool?.submit { _ in
      guard failure.found == nil, !Interruption.isAsked else { return }
      do throws(VolumeError) {
        try Self.finish(file, system)
        let written = file.written + UInt64(file.contents?.byteCount ?? 0)
        progress.finishFile(bytes: written, isSkipped: false)
      } catch {
        failure.add(CommandFailure(error, at: file.path))
      }
    }
  }

  /// Writes a file's contents, where they are in memory, and gives it its attributes.
  private static func finish(
    _ file: PendingFile, _ system: FileSystem
  ) throws(VolumeError) {
    let entry = file.entry
    if let contents = file.contents {
      var start = 0
      for range in entry.ranges {
        let end = start + range.count
        try system.write(
          file.id, contents.bytes.extracting(start..<end), at: range.lowerBound, keepsTimes: true)
        start = end
      }
    }
    if entry.member.kind == .regular {
      if entry.byteCount > entry.ranges.last?.upperBound ?? 0 {
        try system.truncate(file.id, to: entry.byteCount)
      }
      try system.writeOut(file.id)
    }
    try NewAttributes(entry).give(
      to: file.id, of: system, isDirectory: false, clearsLists: false)
  }

  private func making<Result>(
    _ path: [UInt8], _ body: () throws(VolumeError) -> Result
  ) throws(CommandFailure) -> Result {
    try TreePut.making(path, body)
  }
}

extension NewAttributes {
  /// Those of a member of an archive.
  init(_ entry: TarEntry) {
    self.init(
      permissions: UInt16(truncatingIfNeeded: entry.member.mode & 0o7777), uid: entry.member.uid,
      gid: entry.member.gid, time: entry.member.modificationTime)
    accessTime = entry.accessTime
    xattrs = entry.member.xattrs
  }
}
