// SPDX-License-Identifier: GPL-2.0
// Walks the source directory and decides everything that depends on order: inode numbers, places of
// names, which batch reads what.
//
// How it works
//   1. `survey` walks the tree once, breadth first, names sorted bytewise: it counts files and
//      bytes, the names of files with several links, and the subdirectories of every directory.
//   2. `nextBatch` walks the same way again. When a directory comes up, its children get the next
//      inode numbers in name order. So directories come up in the order of their numbers, and
//      inodes, dirents, xattrs and extents all leave in the order of their btrees.
//   3. A directory's link count must be known when its inode leaves, before its own turn: that is
//      what the survey counted. A tree that is another one the second time is an error.
// Invariants
//   (1) Numbers and places depend on names, types and link structure alone.
//   (2) Memory: four bytes a directory, the paths of directories not yet visited, and the table of
//       files with several links.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// What the survey found.
struct SourceSurvey {
  /// Subdirectories of each directory, in the order of the walk.
  var subdirectoryCounts: [UInt32] = []
  /// Names within the tree of files that have several.
  var linkCounts: [HostFileID: UInt32] = [:]
  /// Inodes that the volume will have, without those that the build adds.
  var inodeCount: UInt64 = 0
  /// An upper bound of the data, in bytes rounded to blocks.
  var dataBytes: UInt64 = 0
  /// Bytes of all names.
  var nameBytes: UInt64 = 0
}

/// A file of the host, whatever its name.
struct HostFileID: Hashable {
  let device: UInt64
  let inode: UInt64

  init(_ stat: HostStat) {
    device = stat.device
    inode = stat.inode
  }

  init(_ identity: HostFileIdentity) {
    device = identity.device
    inode = identity.inode
  }
}

final class TreeScanner {
  /// A directory whose children are being placed.
  private struct Cursor {
    let directory: PendingDirectory
    let source: HostDirectory
    let children: [Child]
    let slots: [UInt64]
    var next = 0
    var records: [DirentRecord] = []
  }

  private struct PendingDirectory {
    let path: HostPath
    let inode: UInt64
    let hashSeed: UInt64
    let index: Int
  }

  /// Everything but the tree that inodes depend on.
  struct Parameters {
    let hashType: StringHashType
    /// Mixed with the inode number for the seed of its hashes.
    let hashSeed: UInt64
    let timeBase: UInt64
    /// Set: times other than the modification time become the modification time, so that the same
    /// content gives the same image.
    let isReproducible: Bool
    let blockBytes: Int
    /// Files are cut into parts of this many bytes.
    let partBytes: Int
    /// The image itself, which may lie inside its source.
    let excluded: Set<HostFileID>
  }

  private static let rootInode = Positions.rootInode
  private let tree: HostTree
  private let parameters: Parameters
  private var survey = SourceSurvey()
  private var nextInode = TreeScanner.rootInode
  private var linkedInodes: [HostFileID: UInt64] = [:]
  private var remainingLinks: [HostFileID: UInt32] = [:]
  private var queue = DirectoryQueue<PendingDirectory>()
  private var cursor: Cursor?
  private var isStarted = false
  /// The batch that is being filled, and one that is full.
  private var batch = BuildBatch(index: 0)
  private var batchBytes = 0
  private var ready: BuildBatch?
  /// The file that is being cut into parts, and its data that is still to come, last first.
  private var remainder: (item: BuildItem, ranges: [Range<UInt64>])?
  private var directoriesSeen = 0
  /// The source's root has a lost+found of its own.
  private var hasOwnLostAndFound = false

  init(tree: HostTree, parameters: Parameters) {
    self.tree = tree
    self.parameters = parameters
  }

  /// A scanner for the second walk, with what `surveyor` found in the first.
  init(tree: HostTree, survey surveyor: TreeScanner, parameters: Parameters) {
    self.tree = tree
    self.parameters = parameters
    survey = surveyor.survey
    hasOwnLostAndFound = surveyor.hasOwnLostAndFound
  }

  // MARK: - First walk

  func runSurvey(isCancelled: () -> Bool) throws(ImageError) -> SourceSurvey {
    var queue = DirectoryQueue<HostPath>()
    queue.append(.root)
    survey.inodeCount = 1
    while let path = queue.popFirst() {
      if isCancelled() { throw .cancelled }
      let entries = try readingHost { () throws(HostError) in
        try tree.directory(at: path).entries()
      }
      var subdirectories: UInt32 = 0
      let isRoot = survey.subdirectoryCounts.isEmpty
      for entry in entries where isIncluded(entry) {
        if isRoot && entry.name == NewVolume.lostAndFound { hasOwnLostAndFound = true }
        survey.nameBytes += UInt64(entry.name.count)
        if entry.stat.isDirectory {
          subdirectories += 1
          queue.append(path.appending(entry.name))
        } else if entry.stat.linkCount > 1 {
          let names = (survey.linkCounts[HostFileID(entry.stat)] ?? 0) + 1
          survey.linkCounts[HostFileID(entry.stat)] = names
          if names > 1 { continue }
        }
        survey.inodeCount += 1
        survey.dataBytes += storedBound(entry.stat)
      }
      survey.subdirectoryCounts.append(subdirectories)
    }
    return survey
  }

  private func isIncluded(_ entry: HostEntry) -> Bool {
    parameters.excluded.isEmpty || !parameters.excluded.contains(HostFileID(entry.stat))
  }

  /// What a file's data can take at most.
  private func storedBound(_ stat: HostStat) -> UInt64 {
    guard stat.isRegularFile || stat.kind == .symbolicLink else { return 0 }
    let blockBytes = UInt64(parameters.blockBytes)
    let (rounded, overflow) = stat.byteCount.addingReportingOverflow(blockBytes - 1)
    let bySize = overflow ? stat.byteCount : rounded / blockBytes * blockBytes
    guard stat.mayHaveHoles else { return bySize }
    return min(bySize, stat.blocks512 * 512 + blockBytes)
  }

  // MARK: - Second walk

  /// The next batch in order, nil after the last.
  ///
  /// - Precondition: the survey was run.
  func nextBatch() throws(ImageError) -> BuildBatch? {
    if !isStarted {
      isStarted = true
      queue.append(try scanRoot())
    }
    while ready == nil {
      if try placeNextChild() { continue }
      guard let directory = queue.popFirst() else { break }
      cursor = try open(directory)
    }
    if let batch = ready {
      ready = nil
      return batch
    }
    guard !batch.steps.isEmpty else { return nil }
    guard linkedInodes.count == survey.linkCounts.count else { throw changed(.root) }
    return closedBatch()
  }

  private func scanRoot() throws(ImageError) -> PendingDirectory {
    remainingLinks = survey.linkCounts
    let (stat, xattrs) = try readingHost { () throws(HostError) in
      (try tree.stat(), try tree.directory(at: .root).xattrs())
    }
    var inode = makeInode(stat, number: takeInodeNumber(), index: 0)
    inode.subvolume = Subvolume.root
    batch.steps.append(
      .inode(
        BuildItem(
          inode: inode, stat: nil, parent: nil, name: [], dataRange: 0..<0, isFirstPart: true,
          isLastPart: true, hostXattrs: xattrs)))
    return PendingDirectory(path: .root, inode: inode.number, hashSeed: inode.hashSeed, index: 0)
  }

  private func changed(_ path: HostPath) -> ImageError {
    .host(
      HostError(.list, .changedWhileReading([.modificationTime]), pathBytes: path.bytes))
  }

  private func takeInodeNumber() -> UInt64 {
    defer { nextInode += 1 }
    return nextInode
  }

  /// One name of a directory, before it has its place.
  private struct Child {
    let name: [UInt8]
    let stat: HostStat?
    let hash: UInt64
  }

  /// Lists a directory and gives its names their places.
  private func open(_ directory: PendingDirectory) throws(ImageError) -> Cursor {
    let (source, entries) = try readingHost { () throws(HostError) in
      let source = try tree.directory(at: directory.path)
      return (source, try source.entries().filter(isIncluded))
    }
    let subdirectories = entries.lazy.filter(\.stat.isDirectory).count
    guard UInt32(subdirectories) == survey.subdirectoryCounts[directory.index] else {
      throw changed(directory.path)
    }
    let hash = NameHash(type: parameters.hashType, seed: directory.hashSeed)
    var children = entries.map { entry in
      Child(name: entry.name, stat: entry.stat, hash: hash.dirent(entry.name.span))
    }
    if directory.index == 0 && !hasOwnLostAndFound {
      let name = NewVolume.lostAndFound
      children.insert(Child(name: name, stat: nil, hash: hash.dirent(name.span)), at: 0)
    }
    return Cursor(
      directory: directory, source: source, children: children, slots: slotsByChild(children))
  }

  /// Places one child, or one more part of a large file, or closes the directory.
  ///
  /// - Returns: false when no directory is open.
  private func placeNextChild() throws(ImageError) -> Bool {
    // What is changed is taken out first: its arrays would be copied for each child otherwise.
    if case (let item, var ranges)? = remainder {
      remainder = nil
      cut(item, &ranges, isFirst: false)
      return true
    }
    guard var current = cursor else { return false }
    cursor = nil
    if current.next < current.children.count {
      let child = current.children[current.next]
      let slot = current.slots[current.next]
      let target = try place(child, slot: slot, in: current)
      current.records.append(
        DirentRecord(
          slot: slot, name: child.name, target: target, type: direntType(child.stat)))
      current.next += 1
      cursor = current
      return true
    }
    current.records.sort { $0.slot < $1.slot }
    makeRoom(for: 0)
    batch.steps.append(.dirents(directory: current.directory.inode, current.records))
    return true
  }

  private func slotsByChild(_ children: [Child]) -> [UInt64] {
    let order = children.indices.sorted {
      (children[$0].hash, $0) < (children[$1].hash, $1)
    }
    let sorted = NameHash.slots(forSorted: order.map { children[$0].hash })
    var slots = [UInt64](repeating: 0, count: children.count)
    for (slot, index) in zip(sorted, order) { slots[index] = slot }
    return slots
  }

  private func direntType(_ stat: HostStat?) -> UInt8 {
    UInt8(truncatingIfNeeded: ((stat?.mode ?? 0o040000) >> 12) & 15)
  }

  /// Gives a child its inode, or finds the one it has by another name.
  private func place(
    _ child: Child, slot: UInt64, in current: Cursor
  ) throws(ImageError) -> UInt64 {
    let directory = current.directory
    if let stat = child.stat, !stat.isDirectory, stat.linkCount > 1 {
      guard let left = remainingLinks[HostFileID(stat)], left > 0 else {
        throw changed(directory.path.appending(child.name))
      }
      remainingLinks[HostFileID(stat)] = left - 1
      if let known = linkedInodes[HostFileID(stat)] { return known }
      linkedInodes[HostFileID(stat)] = nextInode
    }
    var inode: Inode
    if let stat = child.stat {
      if stat.isDirectory { directoriesSeen += 1 }
      inode = makeInode(stat, number: takeInodeNumber(), index: directoriesSeen)
    } else {
      inode = makeLostAndFound()
    }
    inode.directory = directory.inode
    inode.directoryOffset = slot
    if let stat = child.stat, stat.isDirectory {
      queue.append(
        PendingDirectory(
          path: directory.path.appending(child.name), inode: inode.number,
          hashSeed: inode.hashSeed, index: directoriesSeen))
    }
    var ranges = try dataRanges(child, inode.size, in: current)
    cut(
      BuildItem(
        inode: inode, stat: child.stat, parent: child.stat == nil ? nil : current.source,
        name: child.name, dataRange: 0..<0, isFirstPart: true, isLastPart: true, hostXattrs: []),
      &ranges, isFirst: true)
    return inode.number
  }

  /// What is to be read of a child, last first; whole files but for large ones with holes, whose
  /// holes nobody need walk through.
  private func dataRanges(
    _ child: Child, _ byteCount: UInt64, in current: Cursor
  ) throws(ImageError) -> [Range<UInt64>] {
    guard let stat = child.stat, stat.isRegularFile || stat.kind == .symbolicLink, byteCount > 0
    else { return [] }
    guard stat.isRegularFile, stat.mayHaveHoles, byteCount > UInt64(parameters.partBytes) else {
      return [0..<byteCount]
    }
    return try readingHost { () throws(HostError) in
      let file = try current.source.file(child.name)
      let blockBytes = UInt64(parameters.blockBytes)
      var ranges: [Range<UInt64>] = []
      var position: UInt64 = 0
      while position < byteCount, let data = try file.dataRange(from: position) {
        let start = max(data.lowerBound / blockBytes * blockBytes, position)
        let rounded = (data.upperBound + blockBytes - 1) / blockBytes * blockBytes
        let end = min(rounded, byteCount)
        guard start < end else { break }
        if let last = ranges.last, last.upperBound == start {
          ranges[ranges.count - 1] = last.lowerBound..<end
        } else {
          ranges.append(start..<end)
        }
        position = end
      }
      return ranges.reversed()
    }
  }

  // MARK: - Batches

  /// Puts the next part of a file into the batch and keeps the rest for later.
  private func cut(_ item: BuildItem, _ rest: inout [Range<UInt64>], isFirst: Bool) {
    var part: Range<UInt64> = 0..<0
    if let next = rest.popLast() {
      let end = min(next.upperBound, next.lowerBound + UInt64(parameters.partBytes))
      part = next.lowerBound..<end
      if end < next.upperBound { rest.append(end..<next.upperBound) }
    }
    makeRoom(for: part.count)
    batch.steps.append(
      .inode(
        BuildItem(
          inode: item.inode, stat: item.stat, parent: item.parent, name: item.name,
          dataRange: part, isFirstPart: isFirst, isLastPart: rest.isEmpty,
          hostXattrs: item.hostXattrs)))
    batchBytes += part.count
    remainder = rest.isEmpty ? nil : (item, rest)
  }

  /// Closes the batch if `bytes` more, or another step, would be too much for it.
  ///
  /// Called once between two looks at `ready`, so one place for a full batch is enough.
  private func makeRoom(for bytes: Int) {
    let isFull = batchBytes > 0 && batchBytes + bytes > BuildBatch.dataBytes
    guard isFull || batch.steps.count >= BuildBatch.stepLimit else { return }
    invariant(ready == nil, "a full batch is handed out before the next one fills")
    ready = closedBatch()
  }

  private func closedBatch() -> BuildBatch {
    let full = batch
    batch = BuildBatch(index: full.index + 1)
    batchBytes = 0
    return full
  }

  // MARK: - Inodes

  private func hashSeed(_ number: UInt64) -> UInt64 {
    var generator = SplitMix64(seed: parameters.hashSeed ^ number)
    return generator.next()
  }

  /// - Parameter index: of a directory in the order of the walk.
  private func makeInode(_ stat: HostStat, number: UInt64, index: Int) -> Inode {
    var inode = Inode()
    inode.number = number
    inode.snapshot = .max
    inode.hashSeed = hashSeed(number)
    inode.stringHash = parameters.hashType.rawValue
    inode.mode = UInt16(truncatingIfNeeded: stat.mode)
    inode.uid = stat.uid
    inode.gid = stat.gid
    inode.mtime = time(stat.modificationTime)
    let own = parameters.isReproducible
    inode.atime = own ? inode.mtime : time(stat.accessTime)
    inode.ctime = own ? inode.mtime : time(stat.changeTime)
    inode.otime = own ? inode.mtime : time(stat.birthTime ?? stat.modificationTime)
    switch stat.kind {
    case .directory:
      inode.nlink = survey.subdirectoryCounts[index]
      if index == 0 && !hasOwnLostAndFound { inode.nlink += 1 }
    case .characterDevice, .blockDevice:
      inode.setDevice(major: stat.deviceMajor, minor: stat.deviceMinor)
      inode.nlink = (survey.linkCounts[HostFileID(stat)] ?? 1) - 1
    default:
      inode.nlink = (survey.linkCounts[HostFileID(stat)] ?? 1) - 1
    }
    if stat.isRegularFile || stat.kind == .symbolicLink { inode.size = stat.byteCount }
    return inode
  }

  private func makeLostAndFound() -> Inode {
    let number = takeInodeNumber()
    var inode = Inode()
    inode.number = number
    inode.snapshot = .max
    inode.hashSeed = hashSeed(number)
    inode.stringHash = parameters.hashType.rawValue
    inode.mode = 0o040700
    // Made with the volume: its times are the volume's time base.
    return inode
  }

  /// Nanoseconds since the volume's time base; earlier times wrap, as the driver reads them.
  private func time(_ nanoseconds: Int64) -> UInt64 {
    UInt64(bitPattern: nanoseconds) &- parameters.timeBase
  }
}

/// A queue that does not move its elements for each removal.
private struct DirectoryQueue<Element> {
  private var elements: [Element] = []
  private var first = 0

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func popFirst() -> Element? {
    guard first < elements.count else { return nil }
    defer {
      first += 1
      if first >= 1024 && first * 2 >= elements.count {
        elements.removeFirst(first)
        first = 0
      }
    }
    return elements[first]
  }
}
