// SPDX-License-Identifier: GPL-2.0
// What the contents of all files that are open share: working memory, and a limit for what is not
// written yet.
//
// How it works
//   1. A file's contents are here from its first use on, until nobody has it open and nothing of it
//      is left to be written. Those of a file that is deleted are taken out, though somebody has
//      them; who opens it meanwhile waits, and then finds that it is gone, or another file.
//   2. What is dirty counts against a limit. Who goes over it writes his own file first; behind
//      half of it the thread that writes in the background begins, with the file that has been
//      dirty for longest. It also writes what has been dirty for some seconds.
//   3. Files with something left behind their end are remembered, so that it goes when the volume
//      is closed, or a snapshot taken. Where there are too many, or their contents go for another
//      reason, nothing is lost: the superblock has said that something is wrong before anybody
//      noted a tail, and who opens the file next looks for it (`mayHaveTail`).
// Invariants
//   (1) Of each file there are contents once, whoever has it open.
//   (2) Dirty bytes stay below the limit and what those have who are about to write.
// Locks: `state` is a leaf.
// Source: what Linux's page cache and its writeback do for the driver.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

final class ContentStore: Sendable {
  fileprivate struct State {
    var files: [FileID: FileContents] = [:]
    /// How often each is open. Who has contents of a file that was deleted counts with the users of
    /// the one that has its number now.
    var users: [FileID: Int] = [:]
    /// Files that somebody is deleting.
    var going: Set<FileID> = []
    /// Files with something behind their end that is to go before they grow.
    var tails: Set<FileID> = []
    /// Files with dirty blocks, and since when; how many windows each has.
    var dirty = DirtyFiles()
    var windows: [FileID: Int] = [:]
    /// The first that was lost since somebody asked.
    var failure: VolumeError?
    /// Why something of a file is lost, until whoever flushes it is told.
    var failures: [FileID: VolumeError] = [:]
    var writers: [FileWriter] = []
    var readers: [FileContentReader] = []
  }

  /// Working memory that is kept.
  private static let sparesMax = 16
  /// Files of which something is lost that are remembered.
  private static let failuresMax = 1 << 16
  /// Files with something behind their end that are remembered.
  private static let tailsMax = 1 << 16
  /// After so long what is dirty is written, though nobody asks for it.
  private static let dirtyNanosecondsMax: UInt64 = 5_000_000_000

  let engine: Engine
  let dirtyLimitBytes: Int
  private let state = Mutex(State())
  private let dirtyBytes = Atomic<Int>(0)
  private let commits = Atomic<UInt64>(0)
  /// For the thread that writes in the background.
  private let waiting = Condition()
  /// For those who open files that are being deleted.
  private let deleting = Condition()
  private let report: @Sendable (ReadDamage) -> Void

  /// - Parameters:
  ///   - dirtyLimitBytes: What contents that are not written may take in memory.
  ///   - report: Called for every copy found bad.
  init(
    _ engine: Engine, dirtyLimitBytes: Int = 64 << 20,
    report: @escaping @Sendable (ReadDamage) -> Void = { _ in }
  ) {
    self.engine = engine
    self.dirtyLimitBytes = dirtyLimitBytes
    self.report = report
  }

  // MARK: - Files

  /// Contents of a file, for one user more; `close` ends that.
  ///
  /// - Throws: `.notFound`, `.isADirectory`, `.wrongType`; what reading its inode throws.
  func open(_ file: FileID) throws(VolumeError) -> FileContents {
    let contents = use(file)
    do throws(VolumeError) { try contents.load() } catch {
      close(file)
      throw error
    }
    return contents
  }

  private func use(_ file: FileID) -> FileContents {
    while true {
      if let contents = state.withLock({ $0.use(file, self) }) { return contents }
      deleting.withLock { _ = deleting.wait(nanoseconds: 1_000_000) }
    }
  }

  /// The contents of a file that somebody has open, or that has something to be written.
  func find(_ file: FileID) -> FileContents? {
    guard let found = state.withLock({ $0.files[file] }), found.isLoaded else { return nil }
    return found
  }

  /// One user less.
  func close(_ file: FileID) {
    state.withLock { state in
      let left = (state.users[file] ?? 1) - 1
      state.users[file] = left > 0 ? left : nil
      state.forgetIfUnused(file)
    }
  }

  /// Calls `body`, which deletes a file that nobody holds: nobody wants what is not written of it.
  func whileGoing<Result>(
    _ file: FileID, _ body: () throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    state.withLock { _ = $0.going.insert(file) }
    defer {
      state.withLock { _ = $0.going.remove(file) }
      deleting.broadcast()
    }
    discard(file)
    return try body()
  }

  /// Forgets a file. Who has it open finds that it is gone.
  private func discard(_ file: FileID) {
    let contents = state.withLock { $0.files.removeValue(forKey: file) }
    contents?.discard()
    state.withLock { state in
      state.dirty.remove(file)
      state.failures[file] = nil
      state.tails.remove(file)
    }
  }

  /// Forgets all files of a subvolume that was deleted.
  func discardAll(of subvolume: UInt32) {
    let files = state.withLock { $0.files.keys.filter { $0.subvolume == subvolume } }
    for file in files { discard(file) }
  }

  // MARK: - Truncations that failed

  /// Whether something is left behind the end of a file that somebody has open: so long its
  /// contents are kept.
  func noteTail(of file: FileID, _ isLeft: Bool) {
    state.withLock { state in
      if !isLeft {
        state.tails.remove(file)
        state.forgetIfUnused(file)
      } else if state.tails.count < Self.tailsMax {
        state.tails.insert(file)
      }
    }
  }

  /// Removes what is left behind the ends of files, of one subvolume or all. Where that fails the
  /// next mount is told to look for it. The caller has no range of any file.
  func removeTails(of subvolume: UInt32? = nil) {
    let files = state.withLock { state in
      state.tails.filter { subvolume == nil || $0.subvolume == subvolume }
        .compactMap { state.files[$0] }
    }
    for file in files {
      do throws(VolumeError) { try file.removeTail() } catch {
        engine.store.noteInconsistency()
      }
    }
  }

  // MARK: - Dirty contents

  /// What is in memory of a file takes so many bytes, and windows, more or less.
  /// Threads that change different windows come in any order, so it is counted here how many are
  /// left.
  func count(_ file: FileID, bytes delta: Int, windows change: Int) {
    if delta != 0 { dirtyBytes.wrappingAdd(delta, ordering: .relaxed) }
    state.withLock { state in
      let count = (state.windows[file] ?? 0) + change
      state.windows[file] = count > 0 ? count : nil
      if count <= 0 {
        state.dirty.remove(file)
        state.forgetIfUnused(file)
      } else if !state.dirty.contains(file) {
        state.dirty.insert(file, now: engine.media.clocks.monotonicNanoseconds())
      }
    }
    if dirtyBytes.load(ordering: .relaxed) > dirtyLimitBytes / 2 { waiting.broadcast() }
  }

  /// Something of a file could not be written. That is remembered whether or not anybody has the
  /// file open: nothing else of it may be in memory when it is flushed.
  func noteFailure(_ file: FileID, _ error: VolumeError) {
    state.withLock { state in
      if state.failure == nil { state.failure = error }
      if state.failures[file] == nil, state.failures.count < Self.failuresMax {
        state.failures[file] = error
      }
    }
  }

  /// Why something of a file was lost since this was asked last.
  func takeFailure(of file: FileID) -> VolumeError? {
    state.withLock { $0.failures.isEmpty ? nil : $0.failures.removeValue(forKey: file) }
  }

  /// Why something was lost since this was asked last.
  func takeFailure() -> VolumeError? {
    state.withLock { state in
      defer { state.failure = nil }
      return state.failure
    }
  }

  /// Bytes of memory that hold what is not written.
  var dirtyByteCount: Int { dirtyBytes.load(ordering: .relaxed) }

  /// How often something of files' contents was committed that is still in memory.
  var commitCount: UInt64 { commits.load(ordering: .acquiring) }

  func noteCommit() { commits.add(1, ordering: .acquiringAndReleasing) }

  var isOverLimit: Bool { dirtyBytes.load(ordering: .relaxed) > dirtyLimitBytes }

  /// Writes all that is dirty now. What fails is told to those who flush the file next. The caller
  /// has no range of any file.
  func writeAll() {
    let files = state.withLock { state in state.dirty.files.compactMap { state.files[$0] } }
    for file in files { file.writeBack() }
  }

  /// Calls `body`, and again where it found no space and that may be because of what is dirty: a
  /// block that waits to be written is promised room beside the one that it overwrites. The caller
  /// has no range of any file.
  func withRoom<Result>(
    _ body: () throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    for _ in 0..<Self.roomAttempts {
      do throws(VolumeError) { return try body() } catch {
        guard error.code == .noSpace, dirtyByteCount > 0 else { throw error }
        writeAll()
      }
    }
    return try body()
  }

  /// How often all is written for one who finds no space: others may be faster.
  private static var roomAttempts: Int { 3 }

  /// Writes what is dirty now of the files of a subvolume.
  ///
  /// - Returns: Whether anything was.
  @discardableResult func writeAll(of subvolume: UInt32) -> Bool {
    let files = state.withLock { state in
      state.dirty.files.filter { $0.subvolume == subvolume }.compactMap { state.files[$0] }
    }
    for file in files { file.writeBack() }
    return !files.isEmpty
  }

  private func oldestDirty(since time: UInt64) -> FileContents? {
    state.withLock { state in
      state.dirty.oldest(since: time).flatMap { state.files[$0] }
    }
  }

  /// A step of the thread that writes in the background: writes a file that has been dirty for
  /// long, or because of the limit, or waits for one.
  func writeStep(nanoseconds: UInt64) {
    let isMuch = dirtyBytes.load(ordering: .relaxed) > dirtyLimitBytes / 2
    let now = engine.media.clocks.monotonicNanoseconds()
    let long = now > Self.dirtyNanosecondsMax ? now - Self.dirtyNanosecondsMax : 0
    if let file = oldestDirty(since: isMuch ? .max : long) { return file.writeBack() }
    waiting.withLock { _ = waiting.wait(nanoseconds: nanoseconds) }
  }

  /// Ends waiting in `writeStep`.
  func wake() { waiting.broadcast() }

  // MARK: - Working memory

  /// Calls `body` with working memory for writing.
  func withWriter<Result>(
    _ body: (FileWriter) throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    let writer = state.withLock { $0.writers.popLast() } ?? FileWriter(engine)
    defer {
      state.withLock { if $0.writers.count < Self.sparesMax { $0.writers.append(writer) } }
    }
    return try body(writer)
  }

  /// Calls `body` with working memory for reading.
  func withReader<Result>(
    _ body: (FileContentReader) throws(VolumeError) -> Result
  ) throws(VolumeError) -> Result {
    let reader =
      state.withLock { $0.readers.popLast() } ?? FileContentReader(engine, report: report)
    defer {
      state.withLock { if $0.readers.count < Self.sparesMax { $0.readers.append(reader) } }
    }
    return try body(reader)
  }
}

extension ContentStore.State {
  /// Contents of a file, for one user more; nil while it is deleted.
  fileprivate mutating func use(_ file: FileID, _ store: ContentStore) -> FileContents? {
    guard going.isEmpty || !going.contains(file) else { return nil }
    users[file, default: 0] += 1
    if let found = files[file] { return found }
    let new = FileContents(file, store)
    files[file] = new
    return new
  }

  fileprivate mutating func forgetIfUnused(_ file: FileID) {
    if users[file] == nil, !dirty.contains(file), !tails.contains(file) { files[file] = nil }
  }
}
