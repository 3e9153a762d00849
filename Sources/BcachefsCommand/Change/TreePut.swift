// SPDX-License-Identifier: GPL-2.0
// Copies a tree of the host into a directory of a volume that nobody looks for, several files at a
// time.
//
// How it works
//   1. One thread walks the tree. It makes directories, links and nodes itself, and hands regular
//      files to workers through a short queue, several small ones at a time.
//   2. A file with several names is copied by the walk, so that its further names can be made.
//   3. A directory gets its attributes when all below it is done: each counts what it waits for,
//      and whoever finishes the last of that also finishes the directory, and so on upwards.
// Invariants
//   (1) The first thing that fails ends the copy: what is not whole is not published.
//   (2) A file whose state changed while it was read is an error.
//   (3) Memory is bounded by the depth of the tree, the queue, the names of the directories that
//       are walked, and the number of files that have several names. Directories further up than
//       `openMax` levels are closed and opened again by their path.
// Locks: `failure` and a directory's `pending` are leaves.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// A directory of the copy that is not finished.
private final class CopiedDirectory: Sendable {
  let id: FileID
  let path: HostPath
  let parent: CopiedDirectory?
  let stat: HostStat
  let tree: HostTree
  /// The walk itself, files and directories in it that are not done.
  private let pending = Mutex(1)
  private let open: Mutex<HostDirectory?>

  init(
    _ id: FileID, _ source: HostDirectory, _ stat: HostStat, of tree: HostTree,
    parent: CopiedDirectory?
  ) {
    self.id = id
    self.stat = stat
    self.parent = parent
    self.tree = tree
    path = source.path
    open = Mutex(source)
  }

  /// The directory of the host, opened again if it was closed.
  func source() throws(HostError) -> HostDirectory {
    if let open = open.withLock({ $0 }) { return open }
    let opened = try tree.directory(at: path)
    open.withLock { $0 = opened }
    return opened
  }

  func close() { open.withLock { $0 = nil } }
  func retain() { pending.withLock { $0 += 1 } }

  /// Whether that was the last.
  func release() -> Bool {
    pending.withLock { pending in
      pending -= 1
      return pending == 0
    }
  }
}

/// The first failure of many threads.
final class FirstFailure: Sendable {
  private let failure = Mutex<CommandFailure?>(nil)
  private let isSet = Atomic(false)

  /// What ends the work; nil as long as there is nothing.
  var found: CommandFailure? {
    guard isSet.load(ordering: .acquiring) else { return nil }
    return failure.withLock { $0 }
  }

  func add(_ new: CommandFailure) {
    failure.withLock { $0 = $0 ?? new }
    isSet.store(true, ordering: .releasing)
  }

  /// - Throws: the failure.
  func check() throws(CommandFailure) { if let found { throw found } }
}

final class TreePut {
  private static let openMax = 32
  /// What workers get at a time, at most: so many files, or about so many bytes.
  private static let batchFiles = 16
  private static let batchBytes: UInt64 = 1 << 20

  private struct PendingFile {
    let id: FileID
    let name: [UInt8]
    let stat: HostStat
    let source: HostDirectory
    let parent: CopiedDirectory
  }

  private struct Frame {
    let directory: CopiedDirectory
    let names: HostNames
    var next = 0
  }

  private let system: FileSystem
  private let copier: FileCopyIn
  private let progress: TransferProgress
  private let failure: FirstFailure
  private let buffers: [HeapBuffer]
  private var pool: WorkerPool?
  private var batch: [PendingFile] = []
  private var batchedBytes: UInt64 = 0
  /// Files with several names, by device and inode of the host.
  private let links: HostLinks

  init(_ system: FileSystem, links: HostLinks, progress: TransferProgress, workers: Int) {
    self.system = system
    self.links = links
    self.progress = progress
    copier = FileCopyIn(system: system)
    failure = FirstFailure()
    buffers = (0...workers).map { _ in HeapBuffer(byteCount: 1 << 20) }
    pool = WorkerPool(workers: workers, queueDepth: 4 * workers)
  }

  /// Copies everything below a directory of the host, and gives `target` its attributes.
  ///
  /// - Throws: the first failure. What is there then is a part.
  func run(from source: HostDirectory, of tree: HostTree, to target: FileID) throws(CommandFailure)
  {
    do throws(CommandFailure) {
      try walk(source, tree, target)
      submitBatch()
    } catch {
      failure.add(error)
    }
    // Releasing the pool waits for what is queued.
    pool = nil
    try failure.check()
    // Workers that were asked to end have left files out.
    try ChangeReport.checkInterruption()
  }

  private func walk(
    _ source: HostDirectory, _ tree: HostTree, _ target: FileID
  ) throws(CommandFailure) {
    let root = try Self.reading { () throws(HostError) in
      CopiedDirectory(target, source, try source.stat(), of: tree, parent: nil)
    }
    var stack = [try frame(root)]
    while var frame = stack.popLast() {
      try failure.check()
      try ChangeReport.checkInterruption()
      guard frame.next < frame.names.count else {
        finish(frame.directory)
        continue
      }
      let index = frame.next
      frame.next += 1
      stack.append(frame)
      guard let below = try add(Self.copy(frame.names.name(at: index)), to: frame.directory) else {
        continue
      }
      stack.append(try self.frame(below))
      if stack.count > Self.openMax { stack[stack.count - 1 - Self.openMax].directory.close() }
    }
  }

  private func frame(_ directory: CopiedDirectory) throws(CommandFailure) -> Frame {
    let names = try Self.reading { () throws(HostError) in try directory.source().names() }
    return Frame(directory: directory, names: names)
  }

  /// Makes what has a name, or has a worker make it.
  ///
  /// - Returns: a directory that is to be walked.
  private func add(
    _ name: [UInt8], to parent: CopiedDirectory
  ) throws(CommandFailure) -> CopiedDirectory? {
    let (source, stat) = try Self.reading { () throws(HostError) in
      let source = try parent.source()
      return (source, try source.stat(of: name))
    }
    let path = source.wholePath(of: name)
    if stat.isDirectory {
      let opened = try Self.reading { () throws(HostError) in try source.directory(name) }
      let attributes = NewAttributes(stat, [])
      let id = try Self.making(path) { () throws(VolumeError) in
        try system.create(name, in: parent.id, attributes.creation(.directory)).id
      }
      parent.retain()
      return CopiedDirectory(id, opened, stat, of: parent.tree, parent: parent)
    }
    if stat.linkCount > 1 {
      let isLinked = try Self.making(path) { () throws(VolumeError) in
        try links.link(stat, as: name, in: parent.id, of: system)
      }
      if isLinked {
        progress.finishFile(bytes: 0, isSkipped: false)
        return nil
      }
    }
    guard stat.isRegularFile, stat.linkCount <= 1 else {
      let made = try copier.copy(
        name, stat, from: source, to: .name(name, in: parent.id), buffer: buffers[buffers.count - 1]
      )
      links.note(stat, made.id)
      progress.finishFile(bytes: made.written, isSkipped: false)
      return nil
    }
    if let last = batch.last, last.parent !== parent { submitBatch() }
    let id = try Self.making(path) { () throws(VolumeError) in
      try system.create(name, in: parent.id, NewAttributes(stat, []).creation(.regular)).id
    }
    parent.retain()
    batch.append(
      PendingFile(id: id, name: name, stat: stat, source: source, parent: parent))
    batchedBytes += min(stat.byteCount, Self.batchBytes)
    if batch.count == Self.batchFiles || batchedBytes >= Self.batchBytes { submitBatch() }
    return nil
  }

  private func submitBatch() {
    guard !batch.isEmpty else { return }
    let (copier, buffers, progress, failure, files) = (copier, buffers, progress, failure, batch)
    batch.removeAll(keepingCapacity: true)
    batchedBytes = 0
    pool?.submit { worker in
      for file in files {
        guard failure.found == nil, !Interruption.isAsked else { return }
        do throws(CommandFailure) {
          let written = try copier.fill(
            file.id, file.name, file.stat, from: file.source, clearsLists: false,
            buffer: buffers[worker])
          progress.finishFile(bytes: written, isSkipped: false)
        } catch {
          failure.add(error)
          return
        }
        Self.finish(file.parent, copier, progress, failure)
      }
    }
  }

  private func finish(_ directory: CopiedDirectory) {
    Self.finish(directory, copier, progress, failure)
  }

  /// One thing less to wait for; the directory gets its attributes when it was the last.
  private static func finish(
    _ directory: CopiedDirectory, _ copier: FileCopyIn, _ progress: TransferProgress,
    _ failure: FirstFailure
  ) {
    var next: CopiedDirectory? = directory
    while let current = next, current.release() {
      do throws(CommandFailure) {
        let (source, xattrs) = try reading { () throws(HostError) in
          let source = try current.source()
          let xattrs = try source.xattrs()
          try source.verifyUnchanged(since: current.stat)
          return (source, xattrs)
        }
        try making(source.wholePath()) { () throws(VolumeError) in
          try NewAttributes(current.stat, xattrs).give(
            to: current.id, of: copier.system, isDirectory: true, clearsLists: false)
        }
        progress.finishFile(bytes: 0, isSkipped: false)
      } catch {
        failure.add(error)
        return
      }
      current.close()
      next = current.parent
    }
  }

  private static func copy(_ name: Span<UInt8>) -> [UInt8] {
    unsafe name.withUnsafeBufferPointer { unsafe Array($0) }
  }

  static func reading<Result>(
    _ body: () throws(HostError) -> Result
  ) throws(CommandFailure) -> Result {
    do throws(HostError) { return try body() } catch { throw CommandFailure(error) }
  }

  static func making<Result>(
    _ path: [UInt8], _ body: () throws(VolumeError) -> Result
  ) throws(CommandFailure) -> Result {
    do throws(VolumeError) { return try body() } catch { throw CommandFailure(error, at: path) }
  }
}
