// SPDX-License-Identifier: GPL-2.0
// Whether what has a bad copy is lost, and whose it is.
//
// How it works
//   1. What has a bad copy is read as any reader would, stripes included: if that succeeds, the bad
//      copy can be repaired. A stripe's block can if no more of its row is bad than parity gives.
//   2. An extent belongs to a file in each subvolume whose snapshot sees its key. The file's path
//      is climbed from the inode's own word of where its name stands.
//   3. When the scrub is over, files with several names may still have none, and indirect extents
//      no files: one walk each through dirents and extents finds them.
// Invariants
//   (1) Memory is bounded by the findings that are kept, times `filesMax`; time by `looksLeft`.
// Locks: none; it belongs to the scrub's thread.

internal import BcachefsFormat
internal import BcachefsSupport

final class ScrubJudge {
  /// Files that are named for one finding.
  static let filesMax = 100
  private static let pieceSectors: UInt32 = 2048

  /// More than any bucket, and so any extent, has.
  private static let extentSectorsMax: UInt32 = 1 << 24

  private let volume: Volume
  private let paths: SubvolumePaths
  private let reader: ExtentReader
  private let piece = HeapBuffer(byteCount: Int(pieceSectors) * 512)
  /// Subvolumes that may still be asked whether they see a key: a damaged volume may promise
  /// millions of them.
  private var looksLeft = 1 << 26
  /// Subvolumes with their snapshots.
  private lazy var subvolumes: [(id: UInt32, snapshot: UInt32)] =
    (try? volume.subvolumes())?.map { ($0.id, $0.subvolume.snapshot) } ?? []

  init(_ volume: Volume) {
    self.volume = volume
    paths = SubvolumePaths(volume)
    reader = ExtentReader(media: volume.media, lookup: volume.forest.lookup()) { _ in }
  }

  /// What is to be said of a subject; nil if there is nothing wrong with it.
  func finding(
    _ subject: Int, _ failures: [ScrubFailure], in window: ScrubWindow, note: String = ""
  ) -> ScrubFinding? {
    let copies = failures.map { failure in
      let copy = window.copies[failure.copy]
      return ScrubFinding.BadCopy(
        device: copy.device, sector: copy.sector, sectorCount: copy.sectorCount,
        isCached: copy.dataType == .cached, problem: failure.problem)
    }
    switch window.subjects[subject] {
    case .node(let expected, let pointer): return node(expected, pointer, copies)
    case .extent(let btree, let position, let size):
      return extent(btree, position, size, copies, note)
    case .stripe(let layout):
      return stripe(layout, copies, failures.map { window.copies[$0.copy].check })
    }
  }

  // MARK: - Outcomes

  private func node(
    _ expected: NodeExpectation, _ pointer: KeyReference, _ copies: [ScrubFinding.BadCopy]
  ) -> ScrubFinding? {
    var note = ""
    do throws(VolumeError) {
      _ = try volume.forest.nodes.node(pointer, btree: expected.btree, level: expected.level)
      guard !copies.isEmpty else { return nil }
    } catch {
      note = copies.isEmpty ? "\(error)" : ""
      return ScrubFinding(
        .node, .lost, btree: expected.btree, level: expected.level,
        start: expected.minKey ?? .min, end: expected.maxKey, copies: copies, note: note)
    }
    return ScrubFinding(
      .node, .repairable, btree: expected.btree, level: expected.level,
      start: expected.minKey ?? .min, end: expected.maxKey, copies: copies)
  }

  private func extent(
    _ btree: BTreeID, _ position: BPos, _ size: UInt32, _ copies: [ScrubFinding.BadCopy],
    _ note: String
  ) -> ScrubFinding? {
    var outcome = ScrubFinding.Outcome.lost
    var note = note
    if note.isEmpty {
      do throws(VolumeError) {
        try read(btree, position)
        outcome = copies.allSatisfy(\.isCached) ? .harmless : .repairable
      } catch {
        if copies.isEmpty { note = "\(error)" }
      }
    }
    guard outcome == .lost || !copies.isEmpty else { return nil }
    let start = BPos(
      position.inode, position.offset - min(UInt64(size), position.offset), position.snapshot)
    var finding = ScrubFinding(
      btree == .reflink ? .indirectExtent : .extent, outcome, btree: btree, start: start,
      end: position, copies: copies, note: note)
    if btree == .extents { finding.files = files(at: position, from: start.offset) }
    return finding
  }

  /// Reads an extent as a whole, piece by piece.
  private func read(_ btree: BTreeID, _ position: BPos) throws(VolumeError) {
    let cursor = BTreeCursor(volume.forest, btree)
    guard let found = try cursor.lookup(position) else {
      throw VolumeError(.corrupt, "extent \(position) is not there any more")
    }
    guard found.key.type == .extent || found.key.type == .reflinkV else {
      throw VolumeError(.allCopiesBad, "extent \(position): its data was lost before")
    }
    guard found.key.size <= Self.extentSectorsMax else {
      throw VolumeError(.limit, "extent \(position): no extent has \(found.key.size) sectors")
    }
    var done: UInt32 = 0
    let buffer = piece
    while done < found.key.size {
      let count = min(Self.pieceSectors, found.key.size - done)
      var all = buffer.mutableBytes
      var bytes = all._mutatingExtracting(0..<Int(count) * 512)
      try reader.read(found, fromSector: done, into: &bytes)
      done += count
    }
  }

  private func stripe(
    _ layout: StripeLayout, _ copies: [ScrubFinding.BadCopy], _ checks: [ScrubCheck]
  ) -> ScrubFinding? {
    guard !copies.isEmpty else { return nil }
    let missing = layout.blocks.count { volume.media.device($0.device) == nil }
    var bad: [Int: Int] = [:]
    for case .granule(_, let index) in checks { bad[index, default: missing] += 1 }
    let most = bad.values.max() ?? 0
    let outcome: ScrubFinding.Outcome =
      most <= Int(layout.head.redundantCount) ? .repairable : .lost
    let position = BPos(0, layout.number)
    return ScrubFinding(
      .stripe, outcome, start: position, end: position, copies: copies,
      note: outcome == .lost ? "its blocks cannot be rebuilt from each other any more" : "")
  }

  // MARK: - Files

  /// The files that have an extent, with the part of them that it is.
  private func files(at position: BPos, from start: UInt64) -> [ScrubFile] {
    var files: [ScrubFile] = []
    for (id, snapshot) in subvolumes where files.count < Self.filesMax && looksLeft > 0 {
      looksLeft -= 1
      guard isSeen(position, in: snapshot) else { continue }
      let file = FileID(subvolume: id, inode: position.inode)
      // Extents end where files can.
      let (first, overflow) = start.multipliedReportingOverflow(by: 512)
      let (end, alsoOverflow) = position.offset.multipliedReportingOverflow(by: 512)
      guard !overflow, !alsoOverflow, first <= end else { continue }
      files.append(ScrubFile(id: file, path: paths.path(of: file), range: first..<end))
    }
    return files
  }

  /// Whether a key of the extents btree is the one that a snapshot sees at its place.
  private func isSeen(_ position: BPos, in snapshot: UInt32) -> Bool {
    guard volume.snapshots.isAncestor(position.snapshot, of: snapshot) else { return false }
    var cursor = SnapshotCursor(
      volume.forest, .extents, snapshot: snapshot, table: volume.snapshots)
    let found = try? cursor.lookup(position.inode, position.offset)
    return found?.key.position == position
  }

  /// Names what has no name yet: the files of indirect extents, and files whose inodes do not know.
  func nameFiles(in findings: inout [ScrubFinding]) {
    nameUsersOfIndirectExtents(in: &findings)
    nameByDirents(in: &findings)
  }

  private func nameUsersOfIndirectExtents(in findings: inout [ScrubFinding]) {
    let indirect = findings.indices.filter {
      findings[$0].kind == .indirectExtent && findings[$0].files.isEmpty
    }.sorted { findings[$0].end.offset < findings[$1].end.offset }
    guard !indirect.isEmpty else { return }
    let cursor = BTreeCursor(volume.forest, .extents)
    forEachKey(cursor, ofType: .reflinkP) { found in
      guard let pointer = found.withValue({ try? ReflinkP(decoding: $0) }) else { return }
      let first = pointer.index
      let end = found.key.position.offset
      let start = end - min(UInt64(found.key.size), end)
      // The first bad extent that ends behind where this key's data starts.
      var low = 0
      var high = indirect.count
      while low < high {
        let middle = (low + high) / 2
        if findings[indirect[middle]].end.offset <= first {
          low = middle + 1
        } else {
          high = middle
        }
      }
      while low < indirect.count {
        let finding = findings[indirect[low]]
        guard finding.start.offset < first + UInt64(found.key.size) else { break }
        let from = max(finding.start.offset, first) - first
        let end = min(finding.end.offset, first + UInt64(found.key.size)) - first
        let room = Self.filesMax - finding.files.count
        let named = files(at: found.key.position, from: start).prefix(max(room, 0)).map { file in
          ScrubFile(
            id: file.id, path: file.path,
            range: file.range.lowerBound + from * 512..<file.range.lowerBound + end * 512)
        }
        findings[indirect[low]].files += named
        low += 1
      }
    }
  }

  private func nameByDirents(in findings: inout [ScrubFinding]) {
    var nameless: Set<UInt64> = []
    for finding in findings {
      for file in finding.files where file.path == nil { nameless.insert(file.id.inode) }
    }
    guard !nameless.isEmpty else { return }
    var named: [FileID: [UInt8]] = [:]
    let cursor = BTreeCursor(volume.forest, .dirents)
    forEachKey(cursor, ofType: .dirent) { found in
      let entry: (inode: UInt64, name: [UInt8])? = found.withValue { value in
        guard let dirent = try? Dirent(decoding: value), case .inode(let number) = dirent.target,
          nameless.contains(number)
        else { return nil }
        return (number, dirent.name.copiedBytes)
      }
      guard let entry else { return }
      let position = found.key.position
      for (id, snapshot) in subvolumes where looksLeft > 0 {
        looksLeft -= 1
        let file = FileID(subvolume: id, inode: entry.inode)
        guard named[file] == nil,
          volume.snapshots.isAncestor(position.snapshot, of: snapshot),
          let directory = paths.path(of: FileID(subvolume: id, inode: position.inode))
        else { continue }
        named[file] = directory.isEmpty ? entry.name : directory + [0x2f] + entry.name
      }
    }
    for index in findings.indices {
      for place in findings[index].files.indices where findings[index].files[place].path == nil {
        findings[index].files[place].path = named[findings[index].files[place].id]
      }
    }
  }

  /// All keys of a type that can be read.
  private func forEachKey(
    _ cursor: BTreeCursor, ofType type: BKeyType, _ body: (KeyReference) -> Void
  ) {
    cursor.seek(.min)
    while let found = cursor.nextReadable() {
      if found.key.type == type { body(found) }
    }
  }
}
