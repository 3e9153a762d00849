// SPDX-License-Identifier: GPL-2.0
// A check of a volume that is not open for changes: what follows from other keys is worked out
// again and compared with what is there. Nothing is written.
//
// How it works
//   1. Each pass is a walk or two over btrees, in upstream's order and by upstream's names; what is
//      found has upstream's number and words, so that two checks of one volume can be compared.
//   2. What has to be added up (buckets, users of shared data, sectors of stripes) is added up for
//      as many at a time as the memory allows; the walk is repeated for the next ones.
//   3. A node that cannot be read is told of once, by the check of the topology; the other passes
//      go on behind it, and find what is missing because of it.
// Invariants
//   (1) Nothing is written, and nothing is believed that was not read.
//   (2) Memory: the caches of the volume, `memoryBytes`, and the counters that are not of files.
// Locks: none; a check belongs to one thread.
// Source: recovery_passes.c, btree_gc.c, alloc_background.c, lru.c, backpointers.c, snapshot.c,
// subvolume.c, fsck.c.

public import BcachefsFormat
internal import BcachefsSupport

/// How a volume is checked.
public struct CheckOptions: Sendable {
  /// What tables of buckets, stripes, shared extents, files with several names and directories may
  /// take, one after the other. With less than all of them take, btrees are walked more than once.
  public var memoryBytes = 1 << 30
  /// Whether the counters of single files are compared, too. The driver never does: what it mends
  /// leaves them wrong, and files from before version 1.11 have none.
  public var comparesFileCounters = false

  /// 1 GiB, without counters of files.
  public init() {}
}

/// Something that contradicts something else.
public struct CheckFinding: Sendable {
  /// The pass that found it.
  public let pass: RecoveryPass
  /// What kind of contradiction it is.
  public let id: FsckErrorID
  /// Upstream's words; the keys that are meant stand on lines of their own.
  public let text: String
}

/// What a check tells while it goes on.
public struct CheckEvents {
  /// A pass begins.
  public var pass: (RecoveryPass) -> Void = { _ in }
  /// So much of a pass is done, 0 to 1; told often.
  public var progress: (RecoveryPass, Double) -> Void = { _, _ in }
  /// Something was found.
  public var finding: (CheckFinding) -> Void = { _ in }
  /// Asked often; true ends the check with `.cancelled`.
  public var shouldStop: () -> Bool = { false }

  /// Nothing is told, nothing stops the check.
  public init() {}
}

extension Volume {
  /// Checks what follows from other keys: the shape of btrees, buckets, counters, indices of
  /// buckets, LRUs, backpointers, users of shared data, sectors of stripes, the tree of snapshots,
  /// subvolumes, inodes, extents of files, names, attributes, directories and link counts.
  ///
  /// - Returns: how many findings there are of each kind.
  /// - Throws: `.cancelled`; `.unsupported` for versions before 1.12 and after 1.13, where other
  ///   things follow from keys; what makes it impossible to go on. Damage is a finding.
  /// - Complexity: all btrees are read, those of extents and names as often as `memoryBytes` makes
  ///   necessary; one lookup for each backpointer, each pointer, each inode and each name.
  public func check(
    _ options: CheckOptions = CheckOptions(), _ events: CheckEvents = CheckEvents()
  ) throws(VolumeError) -> [FsckErrorID: Int] {
    let version = superblock.version
    guard VolumeCheck.versions.contains(version) else {
      throw VolumeError(
        .unsupported,
        "the volume is of version \(version); only versions \(VolumeCheck.versions.lowerBound) to "
          + "\(VolumeCheck.versions.upperBound) can be checked")
    }
    let check = VolumeCheck(self, options, events)
    try check.run()
    return check.counts
  }
}

final class VolumeCheck {
  /// What follows from keys is another thing before and after these.
  static let versions: ClosedRange<MetadataVersion> = .rebalanceWorkAcctFix ... .native

  let volume: Volume
  let media: VolumeMedia
  let forest: BTreeForest
  let options: CheckOptions
  let targets: DataTargets
  let context: BKeyContext
  /// What an upgrade that was interrupted makes wrong, and the next opening mends without a word.
  private let silentErrors: Set<FsckErrorID>
  /// The newest version of keys, as far as it is known.
  var keyVersion: UInt64
  private let events: CheckEvents
  private let generations: BTreeCursor
  /// For lookups: a cursor of its own each, so that they find near what they found last.
  let inodes: BTreeCursor
  let names: BTreeCursor
  let subvolumes: BTreeCursor
  /// What the passes over inodes and names know together.
  var adrift = AdriftInodes()
  /// Versions of directories, as check_inodes found them.
  var directoryCount = 0
  private var pass = RecoveryPass.checkTopology
  private(set) var counts: [FsckErrorID: Int] = [:]
  private var steps = 0
  private var progress: PassProgress
  private var knownPlace: (snapshot: UInt32, place: SnapshotPlace)?
  /// Which snapshots nobody needs any more: what is left in them is deleted when the volume is
  /// opened for changes, some of it may be already, and nobody sees it. What is in one that has a
  /// single child left is on its way to that child, and judged as if it were there.
  private lazy var snapshotPlan = SnapshotPlan(
    volume.snapshots, existingSubvolumes(), descendantsMax: .max)

  init(_ volume: Volume, _ options: CheckOptions, _ events: CheckEvents) {
    self.volume = volume
    self.options = options
    self.events = events
    media = volume.media
    forest = BTreeForest(
      nodes: NodeReader(rememberingFailuresOf: volume.forest.nodes), roots: volume.forest.roots,
      overlay: volume.forest.overlay)
    targets = DataTargets(volume.media)
    generations = BTreeCursor(forest, .alloc)
    inodes = BTreeCursor(forest, .inodes)
    names = BTreeCursor(forest, .dirents)
    subvolumes = BTreeCursor(forest, .subvolumes)
    context = BKeyContext(volume.superblock)
    silentErrors = Set(volume.superblock.section(of: ExtSection.self)?.silentErrors ?? [])
    keyVersion = volume.journalSummary.keyVersion
    progress = PassProgress(forest)
  }

  /// Runs a pass.
  func begin(_ pass: RecoveryPass, over btrees: [BTreeID]) throws(VolumeError) {
    self.pass = pass
    progress.begin(btrees)
    events.pass(pass)
    events.progress(pass, 0)
    try step()
  }

  /// Says that there is something wrong.
  func report(_ id: FsckErrorID, _ text: String) {
    guard !silentErrors.contains(id) else { return }
    counts[id, default: 0] += 1
    events.finding(CheckFinding(pass: pass, id: id, text: text))
  }

  /// Ends the check where that is asked for.
  func step() throws(VolumeError) {
    steps &+= 1
    guard steps % 64 == 1, events.shouldStop() else { return }
    throw VolumeError(.cancelled, "the check was interrupted")
  }

  /// A key with its value, as upstream prints it.
  func text(_ found: KeyReference) -> String {
    found.withValue { BKeyValue.text(key: found.key, value: $0, context: context) }
  }

  /// Where what is in a snapshot is in the tree: with its heir, if it has one. Nil if it does not
  /// exist, or is on its way out.
  func place(of snapshot: UInt32) -> SnapshotPlace? {
    if let knownPlace, knownPlace.snapshot == snapshot { return knownPlace.place }
    guard !snapshotPlan.isDead(snapshot),
      let place = anyPlace(of: snapshotPlan.place(of: snapshot))
    else { return nil }
    knownPlace = (snapshot, place)
    return place
  }

  /// Whether some snapshots have heirs: then places do not ascend as their keys do.
  var hasHeirs: Bool { snapshotPlan.hasHeirs }

  /// Where a snapshot itself is, also one on its way out.
  func anyPlace(of snapshot: UInt32) -> SnapshotPlace? {
    volume.snapshots.places(of: snapshot).map { SnapshotPlace(id: snapshot, range: $0) }
  }

  private func existingSubvolumes() -> SnapshotPlan.Subvolumes {
    let cursor = BTreeCursor(forest, .subvolumes)
    var result = SnapshotPlan.Subvolumes()
    while let found = cursor.nextReadable() {
      guard found.key.type == .subvolume, let id = UInt32(exactly: found.key.position.offset),
        let subvolume = found.withValue({ try? Subvolume(decoding: $0) })
      else { continue }
      result.add(id, subvolume)
    }
    return result
  }

  // MARK: - Walks

  /// A node comes by.
  func passNode() throws(VolumeError) {
    progress.passNode()
    events.progress(pass, progress.share)
    try step()
  }

  /// Calls `body` with the keys of a btree's leaves that can be read.
  func forEachKey(
    of btree: BTreeID, from start: BPos = .min, upTo end: BPos = .max,
    _ body: (KeyReference) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    let cursor = BTreeCursor(forest, btree)
    cursor.seek(start)
    while let found = cursor.nextReadable(), found.key.position <= end {
      try step()
      if progress.pass(found) { events.progress(pass, progress.share) }
      try body(found)
    }
  }

  /// Calls `body` with the pointer to every node that can be known, parents first.
  func forEachNode(
    _ body: (KeyReference, BTreeID, _ level: Int) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    for btree in forest.roots.keys.sorted() {
      guard let root = forest.roots[btree] else { continue }
      try visit(root.pointer, btree, root.level, from: .min, body)
    }
  }

  /// - Parameter start: What is before it was visited: pointers that lead to one node, over and
  ///   over, make no more of it than it is.
  private func visit(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int, from start: BPos,
    _ body: (KeyReference, BTreeID, Int) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    try passNode()
    try body(pointer, btree, level)
    guard level > 0, let node = try? forest.nodes.node(pointer, btree: btree, level: level) else {
      return
    }
    var children = NodeChildren(of: node, in: forest, from: start)
    while let position = children.position, let child = children.next() {
      try visit(child, btree, level - 1, from: position, body)
    }
  }

  /// The bucket that a pointer leads into; nil where there is no such device or bucket.
  func bucket(of place: ExtentPtr) -> BPos? {
    guard let bucket = media.member(place.device)?.bucket(ofSector: place.offset) else {
      return nil
    }
    return Positions.bucket(device: place.device, bucket: bucket)
  }

  /// The generation of a bucket by its key, 0 without one.
  func generation(of bucket: BPos) -> UInt8 {
    guard let found = try? generations.lookup(bucket) else { return 0 }
    return alloc(found)?.generation ?? 0
  }

  func hasKey(_ bucket: BPos) -> Bool { (try? generations.lookup(bucket)) != nil }

  func alloc(_ found: KeyReference) -> AllocV4? {
    found.withValue { try? AllocV4(key: found.key, value: $0) }
  }
}
