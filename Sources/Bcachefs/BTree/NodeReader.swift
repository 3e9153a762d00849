// SPDX-License-Identifier: GPL-2.0
// Reads btree nodes from whatever copy is good, and keeps them.
//
// How it works
//   1. A pointer names the copies of a node. They are tried in the order in which their devices are
//      expected to answer; one that cannot be read, fails its checksum or is another node is
//      reported and the next is tried.
//   2. Decoded nodes stay in a cache (NodeCache.swift).
//   3. Where many lookups meet one damaged node (a check) it is remembered that it cannot be read.
// Invariants
//   (1) A node from the cache is the one that the pointer means: same place, sequence number,
//       btree, level and last position.
//   (2) No lock is held while a device is read: two readers may read the same node, one is kept.
// Locks: those of the cache.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// Takes note of copies that are bad.
struct ReadDamage: Sendable {
  let device: UInt8
  /// First sector of the copy.
  let sector: UInt64
  let text: String
}

final class NodeReader: Sendable {
  private let media: VolumeMedia
  let decoder: NodeDecoder
  private let cache: NodeCache
  private let report: @Sendable (ReadDamage) -> Void
  /// nil: a node that could not be read is read again.
  private let failures: NodeFailures?

  /// - Parameters:
  ///   - cacheBytes: What all cached nodes together may take.
  ///   - report: Called for every copy found bad, on the reading thread.
  init(
    media: VolumeMedia, decoder: NodeDecoder, cacheBytes: Int,
    report: @escaping @Sendable (ReadDamage) -> Void
  ) {
    self.media = media
    self.decoder = decoder
    self.report = report
    cache = NodeCache(limitBytes: cacheBytes, nodeBytes: decoder.nodeBytes)
    failures = nil
  }

  /// The same, with one cache, but for nodes that could not be read: those are not tried again.
  init(rememberingFailuresOf other: NodeReader) {
    media = other.media
    decoder = other.decoder
    report = other.report
    cache = other.cache
    failures = NodeFailures()
  }

  /// The node that a btree pointer names.
  ///
  /// - Parameters:
  ///   - pointer: Of type btree_ptr_v2 or btree_ptr.
  ///   - level: Of the node.
  /// - Throws: `.allCopiesBad` with what was wrong with each copy; `.corrupt` for a bad pointer.
  func node(
    _ pointer: KeyReference, btree: BTreeID, level: Int
  ) throws(VolumeError) -> BTreeNode {
    let identity = pointer.withValue { NodeIdentity(pointer.key.type, $0) }
    if let identity, let cached = cache.node(identity), cached.btree == btree,
      cached.level == level, cached.maxKey == pointer.key.position
    {
      return cached
    }
    let (expected, places) = try interpret(pointer, btree, level)
    guard !places.isEmpty else {
      throw VolumeError(.corrupt, "\(btree) level \(level): a btree pointer without places")
    }
    guard let identity else { return try read(places, expected) }
    if let failure = failures?.find(identity, pointer.key.position) { throw failure }
    do throws(VolumeError) {
      let node = try read(places, expected)
      cache.keep(node, identity)
      return node
    } catch {
      failures?.note(error, of: identity, pointer.key.position)
      throw error
    }
  }

  /// Reads a node past the cache.
  ///
  /// - Throws: as `node`.
  func readUncached(
    _ pointer: NodePointer, btree: BTreeID, level: Int
  ) throws(VolumeError) -> BTreeNode {
    let storage = HeapBuffer(byteCount: NodePointer.wordsMax * 8, alignment: 16)
    pointer.withWords { words in
      var target = storage.mutableBytes
      target.copy(words, to: 0)
    }
    let reference = KeyReference(
      key: pointer.key, storage: storage, valueStart: BKey.Layout.byteCount)
    let (expected, places) = try interpret(reference, btree, level)
    return try read(places, expected)
  }

  /// The child that the pointer at `index` of an interior node leads to, if it is in the cache.
  ///
  /// - Complexity: one lookup; nothing is allocated.
  func cachedChild(of parent: BTreeNode, at index: Int) -> BTreeNode? {
    guard let identity = parent.childIdentity(at: index), let child = cache.node(identity),
      child.btree == parent.btree, child.level == parent.level &- 1,
      child.maxKey == parent.entries[index].position
    else { return nil }
    return child
  }

  func interpret(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int
  ) throws(VolumeError) -> (NodeExpectation, [ExtentPtr]) {
    var places: [ExtentPtr] = []
    try media.withEntries(of: pointer) { entries in
      var pointers = entries.pointers
      while let decoded = pointers.next() { places.append(decoded.ptr) }
    }
    guard pointer.key.type == .btreePtrV2 else {
      let expected = NodeExpectation(
        btree: btree, level: level, sequence: nil, minKey: nil,
        maxKey: pointer.key.position, sectorsWritten: 0, isRangeUpdated: false)
      return (expected, places)
    }
    let head = try pointer.decoded { (value) throws(FormatError) in
      try BTreePtrV2(decoding: value)
    }
    let expected = NodeExpectation(
      btree: btree, level: level, sequence: head.seq, minKey: head.minKey,
      maxKey: pointer.key.position, sectorsWritten: Int(head.sectorsWritten),
      isRangeUpdated: head.isRangeUpdated)
    return (expected, places)
  }

  // MARK: - Reading

  private func read(
    _ places: [ExtentPtr], _ expected: NodeExpectation
  ) throws(VolumeError) -> BTreeNode {
    var failures: [String] = []
    var isUnread = false
    let wanted = expected.sectorsWritten * 512
    let byteCount = wanted == 0 ? decoder.nodeBytes : min(wanted, decoder.nodeBytes)
    for place in media.inReadOrder(places) {
      guard let device = media.device(place.device) else {
        failures.append("device \(place.device) is missing")
        isUnread = true
        continue
      }
      let image = HeapBuffer(byteCount: byteCount)
      do throws(VolumeError) {
        do {
          var bytes = image.mutableBytes
          try media.read(place.device, atSector: place.offset, into: &bytes)
        }
        return try decoder.decode(image, expecting: expected)
      } catch {
        let problem = "\(device.name) sector \(place.offset): \(error)"
        failures.append(problem)
        isUnread = isUnread || error.code == .device
        report(ReadDamage(device: place.device, sector: place.offset, text: problem))
      }
    }
    let text =
      "btree \(expected.btree) level \(expected.level) node up to \(expected.maxKey): no copy is "
      + "readable: \(failures.joined(separator: "; "))"
    throw isUnread ? VolumeError.unread(text) : VolumeError(.allCopiesBad, text)
  }

  func fill(
    _ image: HeapBuffer, from device: BlockDevice, atSector sector: UInt64
  ) throws(VolumeError) {
    do throws(DeviceError) {
      var bytes = image.mutableBytes
      try device.read(into: &bytes, atByte: sector * 512)
    } catch {
      throw VolumeError(error)
    }
  }
}
