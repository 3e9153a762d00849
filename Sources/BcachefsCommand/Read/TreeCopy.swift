// SPDX-License-Identifier: GPL-2.0
// Copies a tree of a volume to the host, several files at a time.
//
// How it works
//   1. One thread walks the tree. It makes directories, links and nodes itself, and hands regular
//      files to workers through a short queue, small ones several at a time: to wake a worker costs
//      as much as to copy one.
//   2. A file with several names is made, empty, by the walk, so that its further names can be made
//      while a worker still fills it.
//   3. A directory gets its owner, mode and times when all below it is done: each counts what it
//      waits for, and whoever finishes the last of that also finishes the directory, and so on
//      upwards.
// Invariants
//   (1) A file has its modification time only when it is complete; that is what resuming goes by.
//   (2) Memory is bounded by the depth of the tree, the queue, and the number of files that have
//       several names. Directories further up than `openMax` levels are closed and opened again by
//       their path.
// Locks: a directory's `state`, a leaf.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// A directory of the copy that is not finished.
private final class PendingDirectory: Sendable {
  let entry: WalkEntry
  let path: HostPath
  let parent: PendingDirectory?
  /// `pending`: the walk itself, files and directories in it that are not done.
  private let state: Mutex<(pending: Int, open: HostDirectory?)>
  private let tree: HostTree

  init(
    _ entry: WalkEntry, _ path: HostPath, in tree: HostTree, open: HostDirectory,
    parent: PendingDirectory?
  ) {
    self.entry = entry
    self.path = path
    self.parent = parent
    self.tree = tree
    state = Mutex((1, open))
  }

  /// The directory, opened again if it was closed.
  func directory() throws(HostError) -> HostDirectory {
    if let open = state.withLock({ $0.open }) { return open }
    let opened = try tree.directory(at: path)
    state.withLock { $0.open = opened }
    return opened
  }

  func close() { state.withLock { $0.open = nil } }
  func retain() { state.withLock { $0.pending += 1 } }

  /// Whether that was the last.
  func release() -> Bool {
    state.withLock { state in
      state.pending -= 1
      return state.pending == 0
    }
  }
}

final class TreeCopy {
  private static let openMax = 32
  /// What workers get at a time, at most: so many files, or about so many bytes.
  private static let batchFiles = 16
  private static let batchBytes: UInt64 = 1 << 20

  /// A file for a worker to copy.
  private struct PendingFile {
    let entry: WalkEntry
    let directory: HostDirectory
    let parent: PendingDirectory
    /// The file, if it was made already.
    let made: HostNewFile?
  }

  private let place: Place
  private let copier: FileCopier
  private let damage: DamageReport
  private let problems: HostProblems
  private let progress: TransferProgress
  private let volume: Volume
  private let resumes: Bool
  private let buffers: [HeapBuffer]
  private var pool: WorkerPool?
  private var batch: [PendingFile] = []
  private var batchedBytes: UInt64 = 0
  /// The directories on the way down.
  private var stack: [PendingDirectory] = []
  /// The first names of files that have several, where they could be made.
  private var names: [FileID: (directory: HostPath, name: [UInt8])] = [:]

  init(
    volume: Volume, place: Place, damage: DamageReport, problems: HostProblems,
    progress: TransferProgress, resumes: Bool, workers: Int
  ) {
    self.volume = volume
    self.place = place
    self.damage = damage
    self.problems = problems
    self.progress = progress
    self.resumes = resumes
    copier = FileCopier(volume: volume, damage: damage, problems: problems, progress: progress)
    buffers = (0..<workers).map { _ in HeapBuffer(byteCount: 1 << 20) }
    pool = WorkerPool(workers: workers, queueDepth: 16 * workers)
  }

  /// Copies everything from `root` on, and waits for it.
  func run(from root: FileID) throws(CommandFailure) {
    // Releasing the pool waits for what is queued.
    defer {
      submitBatch()
      pool = nil
    }
    try TreeWalk(volume: volume, isSorted: false, damage: damage).run(
      from: root,
      visit: { (entry) throws(CommandFailure) in try visit(entry) },
      leave: { (_) throws(CommandFailure) in copier.finish(stack.removeLast()) })
  }

  private func visit(_ entry: WalkEntry) throws(CommandFailure) -> Bool {
    if let fatal = problems.fatal { throw CommandFailure(fatal) }
    do throws(HostError) {
      if entry.isDirectory {
        try enter(entry)
        return true
      }
      if entry.depth == 0 {
        try addLoneFile(entry)
      } else if let parent = stack.last {
        try addFile(entry, in: parent)
      }
    } catch {
      problems.add(error)
    }
    return false
  }

  private func enter(_ entry: WalkEntry) throws(HostError) {
    guard let parent = stack.last else {
      let open = try place.tree.directory(at: .root)
      stack.append(PendingDirectory(entry, .root, in: place.tree, open: open, parent: nil))
      return
    }
    let open = try parent.directory().makeDirectory(entry.name)
    parent.retain()
    stack.append(
      PendingDirectory(
        entry, parent.path.appending(entry.name), in: place.tree, open: open, parent: parent))
    if stack.count > Self.openMax { stack[stack.count - 1 - Self.openMax].close() }
  }

  /// A file that is all there is to copy.
  private func addLoneFile(_ entry: WalkEntry) throws(HostError) {
    let directory = try place.tree.directory(at: .root)
    let name = place.name ?? []
    guard FileKind(entry.inode) == .regular else {
      try addSpecial(entry, name, in: directory)
      return
    }
    copier.copy(
      entry, name, in: directory, made: nil, resumes: resumes, buffer: buffers[0])
  }

  private func addFile(
    _ entry: WalkEntry, in parent: PendingDirectory
  ) throws(HostError) {
    let directory = try parent.directory()
    let hasOthers = entry.attributes.linkCount > 1
    if hasOthers, let first = names[entry.id] {
      let other = try place.tree.directory(at: first.directory)
      try directory.makeLink(entry.name, to: first.name, in: other)
      progress.finishFile(bytes: 0, isSkipped: false)
      return
    }
    guard FileKind(entry.inode) == .regular else {
      try addSpecial(entry, entry.name, in: directory)
      if hasOthers { names[entry.id] = (parent.path, entry.name) }
      return
    }
    var made: HostNewFile?
    if hasOthers {
      let isComplete = resumes ? try copier.isComplete(entry, entry.name, in: directory) : false
      if isComplete {
        progress.finishFile(bytes: entry.attributes.byteCount, isSkipped: true)
      } else {
        made = try directory.makeFile(entry.name)
      }
      names[entry.id] = (parent.path, entry.name)
      if isComplete { return }
    }
    // One directory's only: each keeps its directory open.
    if let last = batch.last, last.parent !== parent { submitBatch() }
    parent.retain()
    batch.append(PendingFile(entry: entry, directory: directory, parent: parent, made: made))
    batchedBytes += min(entry.attributes.byteCount, Self.batchBytes)
    if batch.count == Self.batchFiles || batchedBytes >= Self.batchBytes { submitBatch() }
  }

  private func submitBatch() {
    guard !batch.isEmpty else { return }
    let (copier, buffers, resumes, files) = (self.copier, self.buffers, self.resumes, batch)
    batch.removeAll(keepingCapacity: true)
    batchedBytes = 0
    pool?.submit { worker in
      for file in files {
        copier.copy(
          file.entry, file.entry.name, in: file.directory, made: file.made, resumes: resumes,
          buffer: buffers[worker])
        copier.finish(file.parent)
      }
    }
  }

  private func addSpecial(
    _ entry: WalkEntry, _ name: [UInt8], in directory: HostDirectory
  ) throws(HostError) {
    let isLink = FileKind(entry.inode) == .symbolicLink
    if isLink {
      let target: [UInt8]
      do throws(VolumeError) {
        target = try volume.readLink(entry.id)
      } catch {
        damage.add(entry.path, error.description)
        return
      }
      try directory.makeSymbolicLink(name, target: target)
    } else {
      guard let kind = HostStat.Kind(rawValue: UInt32(entry.inode.fileType)) else {
        damage.add(entry.path, "its mode \(FileText.octalMode(entry.inode)) has no type")
        return
      }
      let inode = entry.inode
      let isDevice = FileKind(inode)?.isDevice == true
      try directory.makeNode(
        name, kind: kind, major: isDevice ? inode.deviceMajor : 0,
        minor: isDevice ? inode.deviceMinor : 0)
    }
    let failures = try directory.setAttributes(
      copier.attributes(entry), of: name, isLink: isLink)
    for failure in failures { problems.add(failure) }
    progress.finishFile(bytes: 0, isSkipped: false)
  }
}

/// Copies single files; any thread may use it.
private struct FileCopier: Sendable {
  let volume: Volume
  let damage: DamageReport
  let problems: HostProblems
  let progress: TransferProgress
  private let isRoot = geteuid() == 0

  init(
    volume: Volume, damage: DamageReport, problems: HostProblems, progress: TransferProgress
  ) {
    self.volume = volume
    self.damage = damage
    self.problems = problems
    self.progress = progress
  }

  /// Whether the file is at its place already, by size and modification time.
  func isComplete(
    _ entry: WalkEntry, _ name: [UInt8], in directory: HostDirectory
  ) throws(HostError) -> Bool {
    guard let found = try directory.statIfPresent(name) else { return false }
    return found.isRegularFile && found.byteCount == entry.attributes.byteCount
      && found.modificationTime == entry.attributes.modificationTime
  }

  /// Copies a regular file.
  ///
  /// - Parameter made: The file, if it was made already.
  func copy(
    _ entry: WalkEntry, _ name: [UInt8], in directory: HostDirectory, made: HostNewFile?,
    resumes: Bool, buffer: HeapBuffer
  ) {
    guard problems.fatal == nil else { return }
    let size = entry.attributes.byteCount
    do throws(HostError) {
      let file: HostNewFile
      if let made {
        file = made
      } else if let new = try directory.makeFileIfAbsent(name) {
        file = new
      } else if resumes, try isComplete(entry, name, in: directory) {
        progress.finishFile(bytes: size, isSkipped: true)
        return
      } else {
        file = try directory.makeFile(name)
      }
      let written = try copyContents(entry, to: file, buffer)
      for failure in try file.setAttributes(attributes(entry)) { problems.add(failure) }
      progress.finishFile(bytes: written, isSkipped: false)
    } catch {
      problems.add(error)
    }
  }

  /// - Returns: Bytes written.
  private func copyContents(
    _ entry: WalkEntry, to target: HostNewFile, _ buffer: HeapBuffer
  ) throws(HostError) -> UInt64 {
    let size = entry.attributes.byteCount
    let losses = FileLosses()
    defer { damage.add(entry.path, losses, size: size) }
    let file: FileHandle
    let ranges: [Range<UInt64>]
    do throws(VolumeError) {
      file = try volume.open(entry.id)
      ranges = try file.dataRanges { losses.add($0, $1) }
    } catch {
      losses.add(0..<size, error)
      try target.setByteCount(size)
      return 0
    }
    let contents = FileContents(file: file, losses: losses, buffer: buffer)
    var written: UInt64 = 0
    for range in ranges {
      try contents.forEachPiece(in: range) { (piece, offset) throws(HostError) in
        try target.write(piece, atByte: offset)
      }
      written += UInt64(range.count)
    }
    if ranges.last?.upperBound ?? 0 != size { try target.setByteCount(size) }
    return written
  }

  /// What the copy of a file shall have besides its contents.
  func attributes(_ entry: WalkEntry) -> HostAttributes {
    var xattrs: [HostXattr] = []
    do throws(VolumeError) {
      for (name, value) in try volume.xattrs(entry.id) where isWanted(name) {
        xattrs.append(HostXattr(name: name, value: value))
      }
    } catch {
      damage.add(entry.path, error.description)
    }
    let inode = entry.inode
    return HostAttributes(
      permissions: UInt32(inode.mode & 0o7777), owner: isRoot ? (inode.uid, inode.gid) : nil,
      accessTime: entry.attributes.accessTime,
      modificationTime: entry.attributes.modificationTime, xattrs: xattrs)
  }

  /// Not those that only a bcachefs volume could take, nor those that only root may set.
  private func isWanted(_ name: [UInt8]) -> Bool {
    if FileOption.isShown(by: name) { return false }
    return isRoot
      || !(name.starts(with: "trusted.".utf8) || name.starts(with: "security.".utf8))
  }

  /// One thing less to wait for; the directory is finished when it was the last.
  func finish(_ directory: PendingDirectory) {
    var next: PendingDirectory? = directory
    while let current = next, current.release() {
      do throws(HostError) {
        for failure in try current.directory().setAttributes(attributes(current.entry)) {
          problems.add(failure)
        }
        progress.finishFile(bytes: 0, isSkipped: false)
      } catch {
        problems.add(error)
      }
      current.close()
      next = current.parent
    }
  }
}
