// SPDX-License-Identifier: GPL-2.0
// Goes through the btrees and puts the copies of everything they name into windows.
//
// How it works
//   1. Nodes come behind all that are below them: so "the last one that was checked" says of every
//      other node whether it was, and a subtree that was is not visited again.
//   2. Extents come in the order of their keys, of all snapshots, with what the journal has.
//   3. A copy's extent is read as a whole where its checksum covers the whole; else the part that
//      the key still shows.
// Invariants
//   (1) What stands in front of the state's place is not put into a window again.
//   (2) Depth is bounded by `depthMax`; every step moves on by a key or a node.
// Source: extents.h (ptr_disk_sectors), for what accounting counts.

internal import BcachefsFormat
internal import BcachefsSupport

final class ScrubWalk {
  private static let depthMax = 8

  private let scrubber: Scrubber
  private let media: VolumeMedia
  private let forest: BTreeForest
  private let cached: CachedPlaces
  private let start: ScrubState.Place

  init(_ scrubber: Scrubber) {
    self.scrubber = scrubber
    media = scrubber.media
    forest = scrubber.volume.forest
    cached = CachedPlaces(media: media, lookup: forest.lookup())
    start = scrubber.state.place
  }

  // MARK: - Nodes

  /// Walks all nodes of all btrees.
  ///
  /// - Returns: False when the scrub is to stop, as everywhere here.
  func nodes() -> Bool {
    for btree in forest.roots.keys.sorted() where start.isAtStart || btree >= start.btree {
      guard let root = forest.roots[btree] else { continue }
      guard visit(root.pointer, btree, root.level, from: .min, depth: 0) else { return false }
    }
    return true
  }

  private func wasChecked(_ position: BPos, _ btree: BTreeID, _ level: Int) -> Bool {
    guard !start.isAtStart, btree == start.btree else { return false }
    return position < start.position
      || (position == start.position && level <= Int(start.level))
  }

  private func visit(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int, from start: BPos, depth: Int
  ) -> Bool {
    let end = pointer.key.position
    guard depth < Self.depthMax, !wasChecked(end, btree, level) else { return true }
    // If it cannot be read, what is below is not known; it will be found bad itself.
    if level > 0, let node = try? forest.nodes.node(pointer, btree: btree, level: level) {
      var children = NodeChildren(of: node, in: forest, from: start)
      while let position = children.position, let child = children.next() {
        guard visit(child, btree, level - 1, from: position, depth: depth + 1) else {
          return false
        }
      }
    }
    add(pointer, btree, level)
    return scrubber.flush(
      ScrubState.Place(
        phase: .nodes, btree: btree, level: UInt8(clamping: level), position: end,
        isAtStart: false))
  }

  private func add(_ pointer: KeyReference, _ btree: BTreeID, _ level: Int) {
    guard let (expected, places) = try? forest.nodes.interpret(pointer, btree, level) else {
      scrubber.window.add(
        ScrubFinding(
          .node, .lost, btree: btree, level: level, start: pointer.key.position,
          end: pointer.key.position, copies: [], note: "its pointer cannot be decoded"))
      return
    }
    let nodeSectors = forest.nodes.decoder.nodeBytes / 512
    let sectors =
      expected.sectorsWritten == 0 ? nodeSectors : min(expected.sectorsWritten, nodeSectors)
    let subject = scrubber.window.add(.node(expected, pointer: pointer))
    for place in places where scrubber.isWanted(place.device) {
      guard isThere(place.device) else { continue }
      scrubber.window.add(
        ScrubCopy(
          device: place.device, dataType: .btree, sector: place.offset,
          sectorCount: UInt32(sectors), countedSectors: UInt32(nodeSectors), subject: subject,
          check: .node))
    }
    if places.allSatisfy({ media.device($0.device) == nil }) {
      scrubber.window.addBare(subject)
    }
  }

  /// Whether a copy can be looked at; if not, it is counted.
  private func isThere(_ device: UInt8) -> Bool {
    if media.device(device) != nil { return true }
    scrubber.window.addMissing(device)
    return false
  }

  // MARK: - Extents

  /// Walks the extents of a btree.
  func extents(_ btree: BTreeID) -> Bool {
    forEachKey(of: btree) { found in
      switch found.key.type {
      case .extent, .reflinkV: add(found, btree)
      case .error: reportLost(found, btree, "the driver has marked it as lost")
      default: break
      }
    }
  }

  /// Calls `body` with the keys of a btree from where the scrub begins, and flushes between them.
  ///
  /// - Returns: false if the scrub is to end.
  private func forEachKey(of btree: BTreeID, _ body: (KeyReference) -> Void) -> Bool {
    let cursor = BTreeCursor(forest, btree)
    cursor.seek(start.isAtStart ? .min : start.position)
    // Nodes that cannot be read have been told of already.
    while let found = cursor.nextReadable() {
      let place = ScrubState.Place(
        phase: scrubber.state.phase, btree: btree, position: found.key.position, isAtStart: false)
      guard scrubber.flush(place) else { return false }
      body(found)
    }
    return true
  }

  private func reportLost(_ found: KeyReference, _ btree: BTreeID, _ note: String) {
    let subject = scrubber.window.add(
      .extent(btree: btree, position: found.key.position, size: found.key.size))
    scrubber.window.addBare(subject, note: note)
  }

  private func add(_ found: KeyReference, _ btree: BTreeID) {
    let subject = scrubber.window.add(
      .extent(btree: btree, position: found.key.position, size: found.key.size))
    var pointers: [DecodedPtr] = []
    var isPoisoned = false
    do throws(VolumeError) {
      try media.withEntries(of: found) { entries in
        isPoisoned = entries.flags.isPoisoned
        var iterator = entries.pointers
        while let pointer = iterator.next() { pointers.append(pointer) }
      }
    } catch {
      scrubber.window.addBare(subject, note: "\(error)")
      return
    }
    if isPoisoned {
      scrubber.window.addBare(subject, note: "the driver has marked it as poisoned")
      return
    }
    var isAnywhere = false
    for pointer in pointers {
      if media.device(pointer.ptr.device) != nil { isAnywhere = true }
      guard scrubber.isWanted(pointer.ptr.device), isThere(pointer.ptr.device) else { continue }
      if pointer.ptr.isCached && !cached.isCurrent(pointer.ptr) { continue }
      scrubber.window.add(copy(of: pointer, found.key, subject))
    }
    if !isAnywhere && pointers.contains(where: { !$0.ptr.isCached && !$0.ptr.isUnwritten }) {
      scrubber.window.addBare(subject)
    }
  }

  private func copy(of pointer: DecodedPtr, _ key: BKey, _ subject: Int) -> ScrubCopy {
    let crc = pointer.crc
    let whole = crc.isEncoded
    return ScrubCopy(
      device: pointer.ptr.device, dataType: pointer.ptr.isCached ? .cached : .user,
      sector: pointer.ptr.offset + (whole ? 0 : UInt64(crc.offset)),
      // Nothing was ever written there, though accounting counts it.
      sectorCount: pointer.ptr.isUnwritten ? 0 : whole ? crc.compressedSize : key.size,
      countedSectors: UInt32(clamping: pointer.diskSectors(of: key) ?? Int64(key.size)),
      subject: subject,
      check: crc.checksumType == 0 || pointer.ptr.isUnwritten
        ? .readable : .extent(crc, key.version))
  }

  // MARK: - Stripes

  /// Walks the blocks of all stripes, parity included.
  func stripes() -> Bool {
    forEachKey(of: .stripes) { found in
      guard found.key.type == .stripe else { return }
      do throws(VolumeError) {
        add(try StripeLayout(found))
      } catch {
        scrubber.window.add(
          ScrubFinding(
            .stripe, .lost, start: found.key.position, end: found.key.position, copies: [],
            note: "\(error)"))
      }
    }
  }

  private func add(_ layout: StripeLayout) {
    let subject = scrubber.window.add(.stripe(layout))
    for (block, pointer) in layout.blocks.enumerated() {
      let isParity = block >= layout.head.dataCount
      guard scrubber.isWanted(pointer.device), isThere(pointer.device) else { continue }
      for granule in 0..<layout.granuleCount {
        let sectors = layout.sectors(ofGranule: granule)
        scrubber.window.add(
          ScrubCopy(
            device: pointer.device, dataType: isParity ? .parity : .stripe,
            sector: pointer.offset + UInt64(sectors.lowerBound),
            sectorCount: UInt32(sectors.count),
            // Data blocks are counted with the extents in them.
            countedSectors: isParity ? UInt32(sectors.count) : 0, subject: subject,
            check: .granule(block: block, index: granule)))
      }
    }
  }
}
