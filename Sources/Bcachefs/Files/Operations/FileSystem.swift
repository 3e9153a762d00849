// SPDX-License-Identifier: GPL-2.0
// A volume whose files can be changed.
//
// How it works
//   1. Each operation is one transaction: it happens whole or not at all, and once it has returned
//      every later one sees it. Durable it is with the journal's next flush, or `sync`.
//   2. The operations themselves are extensions of `Transaction`, and can be put together; here
//      they are run, and what has to happen after the commit is done: files without a name are
//      deleted when nobody holds them (FileSystem+Holding.swift).
//   3. In memory are who holds which file, and where to look for inode numbers. All else is in the
//      btrees, whose nodes are the cache.
// Invariants
//   (1) Nothing in memory here has to survive: a volume that was never closed is the same without.
//   (2) Who may do what is the caller's to know. Only what Linux asks of files for everybody is
//       refused: changes of what is immutable, names below what may only grow.
// Locks: none of its own; see `OpenFiles`. Every call blocks, and may come from any thread.
// Source: fs.c.

public import BcachefsFormat
internal import BcachefsIO
public import BcachefsSupport
internal import Synchronization

/// What a volume is opened with for changes.
public struct FileSystemOptions: Sendable {
  /// Over those of the superblock, as mount options are.
  public var volume = VolumeOptions()
  /// How an encrypted volume is unlocked.
  public var unlock = UnlockSource.keyring
  /// Where time comes from.
  public var clocks = Clocks.system
  /// What btree nodes in memory should take together, in bytes.
  public var cacheBytes = 256 << 20
  /// What contents that are not written yet should take, in bytes.
  public var dirtyLimitBytes = FileSystemOptions.defaultDirtyLimitBytes
  /// Called for every copy that was found bad, on the thread that read it.
  public var onDamage: @Sendable (String) -> Void = { _ in }
  /// Whether threads write nodes and journal in the background; without them whoever needs the
  /// result does it.
  public var startsThreads = true
  /// Of all randomness: sequence numbers of nodes, secrets of hashes.
  public var seed: UInt64

  static let defaultDirtyLimitBytes = 64 << 20

  /// The defaults, with a seed.
  public init(seed: UInt64) { self.seed = seed }
}

/// A volume that is open for changes of its files and directories.
///
/// Files are named by subvolume and inode number (`FileID`). Every call blocks until it is done,
/// and may come from any thread. Errors have codes that stand for those of POSIX
/// (`VolumeError.Code`); besides those that are told, any call can fail with what reading and
/// writing btrees does: `.allCopiesBad`, `.corrupt`, `.device`, `.noSpace`.
public final class FileSystem: Sendable {
  let engine: Engine
  let contents: ContentStore
  private let writing = Mutex<ContentThread?>(nil)
  let openFiles = OpenFiles()
  let gate = SnapshotGate()
  let cleaner: SnapshotCleaner
  let cleaning = Mutex<SnapshotThread?>(nil)
  /// The highest number of a subvolume that was made or deleted since the volume was opened.
  let lastSubvolume = Atomic<UInt32>(0)
  let numbers: InodeNumbers
  var time: VolumeTime { engine.time }
  private let stringHash: UInt8
  let usesACLs: Bool
  /// Sectors that are left to operations that make room.
  private let spareSectors: UInt64
  /// Nodes that such an operation may need at once, and as many for those that write them.
  private static var spareNodes: UInt64 { 16 }

  /// Takes over an engine that nobody else closes.
  init(
    _ engine: Engine, dirtyLimitBytes: Int = FileSystemOptions.defaultDirtyLimitBytes,
    report: @escaping @Sendable (ReadDamage) -> Void = { _ in }
  ) {
    self.engine = engine
    contents = ContentStore(engine, dirtyLimitBytes: dirtyLimitBytes, report: report)
    cleaner = SnapshotCleaner(engine, gate, openFiles)
    let (superblock, options) = (engine.media.superblock, engine.media.options)
    numbers = InodeNumbers(options)
    let option = StringHashOption(rawValue: UInt8(truncatingIfNeeded: options[.strHash]))
    let type = option.type(newSiphash: superblock.featureMask.contains(.newSiphash))
    stringHash = (type ?? .siphash).rawValue
    usesACLs = options.isOn(.acl)
    spareSectors = Self.spareNodes * UInt64(superblock[Superblock.Layout.btreeNodeSize])
  }

  /// Opens a volume for changes; one that was formatted and never opened becomes a filesystem.
  ///
  /// - Throws: `.unsupported` for what this program cannot write to; what opening devices, reading
  ///   the journal and writing the superblock throws. Where it was refused nothing was written.
  public static func open(
    _ sources: VolumeSources, _ options: FileSystemOptions
  ) throws(VolumeError) -> FileSystem {
    let volume = try VolumeOpener.openForWriting(
      sources, options: options.volume, unlock: options.unlock, clocks: options.clocks)
    let engine = try Engine.open(
      volume,
      EngineOptions(
        cacheBytes: options.cacheBytes, versionUpgrade: VolumeOpener.policy(options.volume),
        seed: options.seed))
    let onDamage = options.onDamage
    let system = FileSystem(engine, dirtyLimitBytes: options.dirtyLimitBytes) { damage in
      onDamage(damage.text)
    }
    if options.startsThreads {
      engine.startThreads()
      system.writing.withLock { $0 = ContentThread(system.contents) }
      system.startCleaning { error in onDamage("cleaning up snapshots: \(error)") }
    }
    return system
  }

  /// Deletes files without a name that are still held, writes everything, and closes the volume.
  /// Nobody uses it any more.
  ///
  /// - Throws: why it could not be written; the volume is as after a crash then.
  public func close() throws(VolumeError) {
    stopCleaning()
    writing.withLock { $0 = nil }
    do throws(VolumeError) {
      // First what others would miss, should something of the rest fail.
      contents.writeAll()
      try engine.journal.flush(upTo: engine.journal.currentSequence)
      for id in openFiles.takeUnlinked() { try delete(id) }
      contents.removeTails()
      try cleaner.deleteUnreachableFiles()
      try engine.close()
    } catch {
      engine.letGo()
      closeDevices { _ in }
      throw error
    }
    var failure: DeviceError?
    closeDevices { failure = failure ?? $0 }
    if let failure { throw VolumeError(failure) }
    if let lost = contents.takeFailure() { throw lost }
  }

  /// Counts what a check found before the volume was opened in its superblock: durable when the
  /// volume is closed, or its superblock is written for another reason.
  public func recordFindings(_ counts: [FsckErrorID: Int]) {
    for (id, count) in counts { engine.store.recordFinding(id, count: UInt64(max(count, 0))) }
  }

  private func closeDevices(_ report: (DeviceError) -> Void) {
    for device in engine.media.devices {
      do throws(DeviceError) { try device?.close() } catch { report(error) }
    }
  }

  /// Makes everything durable that was done before.
  ///
  /// - Throws: why nothing is written any more, or why something of a file was lost: all others are
  ///   durable then.
  public func sync() throws(VolumeError) {
    contents.writeAll()
    try engine.journal.flush(upTo: engine.journal.currentSequence)
    if let lost = contents.takeFailure() { throw lost }
  }

  /// The root directory.
  public var root: FileID { FileID(subvolume: Subvolume.root, inode: Positions.rootInode) }

  /// What an operation is given that begins now.
  func setting() -> OperationSetting {
    OperationSetting(
      now: engine.now, hashSeed: engine.nextNodeSequence(),
      generation: UInt32(truncatingIfNeeded: engine.nextNodeSequence()),
      stringHash: stringHash, usesACLs: usesACLs, numbers: numbers)
  }

  /// Refuses what adds keys where there is no room but for what takes keys away: nodes are not
  /// promised before they are needed.
  ///
  /// - Throws: `.noSpace`.
  func checkRoom() throws(VolumeError) {
    try contents.withRoom { () throws(VolumeError) in
      guard engine.usage.available >= spareSectors else { throw VolumeError(.noSpace) }
    }
  }

  /// What stat(2) tells of an inode.
  func attributes(_ id: FileID, _ inode: Inode) -> FileAttributes {
    var inode = inode
    if let contents = contents.find(id) {
      let shown = contents.shown
      inode.size = shown.size
      inode.sectors = contents.sectors(beside: inode.sectors)
      if let time = shown.time { inode.noteWritten(at: time) }
    }
    return FileAttributes(
      id: id, inode: inode, accessTime: time.nanoseconds(inode.atime),
      modificationTime: time.nanoseconds(inode.mtime), changeTime: time.nanoseconds(inode.ctime),
      birthTime: time.nanoseconds(inode.otime))
  }
}
