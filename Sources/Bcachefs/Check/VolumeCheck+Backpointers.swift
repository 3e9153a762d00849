// SPDX-License-Identifier: GPL-2.0
// Backpointers: every one leads to a key that points there, and every pointer has one.
// Source: backpointers.c (bch2_check_backpointers_to_extents, bch2_check_extents_to_backpointers).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  /// A backpointer, and where it stands.
  private struct Expected {
    let position: BPos
    let value: Backpointer
  }

  /// The backpointers that a key asks for.
  private func backpointers(
    of found: KeyReference, _ btree: BTreeID, level: Int
  ) -> [Expected] {
    let isNode = level > 0
    let nodeSectors = Int64(forest.nodes.decoder.nodeBytes / 512)
    let result = try? media.withEntries(of: found) { entries in
      var result: [Expected] = []
      var pointers = entries.pointers
      while let pointer = pointers.next() {
        guard !pointer.ptr.isCached, bucket(of: pointer.ptr) != nil,
          let member = media.member(pointer.ptr.device),
          let sectors = isNode ? nodeSectors : pointer.diskSectors(of: found.key)
        else { continue }
        let type: DataType = isNode ? .btree : pointer.stripe != nil ? .stripe : .user
        let (position, offset) = Positions.backpointer(
          device: pointer.ptr.device, sector: pointer.ptr.offset,
          bucketSizeSectors: UInt32(member.bucketSizeSectors),
          offset: isNode ? 0 : UInt64(pointer.crc.offset))
        result.append(
          Expected(
            position: position,
            value: Backpointer(
              btree: btree, level: UInt8(clamping: level), dataType: type.rawValue,
              bucketOffset: offset, bucketLength: UInt32(truncatingIfNeeded: sectors),
              position: found.key.position)))
      }
      return result
    }
    return result ?? []
  }

  // MARK: - From backpointers

  func checkBackpointers() throws(VolumeError) {
    var cursors: [BTreeID: BTreeCursor] = [:]
    let alloc = BTreeCursor(forest, .alloc)
    try forEachKey(of: .backpointers) { (found) throws(VolumeError) in
      guard found.key.type == .backpointer,
        let value = found.withValue({ try? Backpointer(decoding: $0) })
      else { return }
      guard let device = UInt8(exactly: found.key.position.inode),
        let member = media.member(device), member.bucketSizeSectors > 0
      else {
        return report(
          .backpointer_to_missing_device, "backpointer for missing device:\n\(text(found))")
      }
      let bucket = Positions.bucket(
        ofBackpointer: found.key.position,
        bucketSizeSectors: UInt32(member.bucketSizeSectors))
      guard (try? alloc.lookup(bucket)) != nil else {
        return report(
          .backpointer_to_missing_alloc,
          "backpointer for nonexistent alloc key: \(bucket.inode):\(bucket.offset):0\n"
            + text(found))
      }
      let target: KeyReference?
      if value.level == 0 {
        let cursor = cursors[value.btree] ?? BTreeCursor(forest, value.btree)
        cursors[value.btree] = cursor
        target = try? cursor.lookup(value.position)
      } else {
        target = nodePointer(value.btree, level: Int(value.level), value.position)
      }
      let isThere =
        target.map { backpointers(of: $0, value.btree, level: Int(value.level)) }?
        .contains { $0.position == found.key.position && $0.value == value } ?? false
      guard !isThere else { return }
      report(
        .backpointer_to_missing_ptr,
        "backpointer for missing \(value.level > 0 ? "btree node" : "extent")\n  \(text(found))")
    }
  }

  /// The pointer to the node that ends at a position.
  ///
  /// - Parameter level: Of the key: one above the node's, as backpointers have it.
  private func nodePointer(_ btree: BTreeID, level: Int, _ position: BPos) -> KeyReference? {
    guard let root = forest.roots[btree] else { return nil }
    guard level <= root.level else {
      return level == root.level + 1 && root.pointer.key.position == position
        ? root.pointer : nil
    }
    var pointer = root.pointer
    var here = root.level
    while let node = try? forest.nodes.node(pointer, btree: btree, level: here),
      let child = forest.firstKey(of: node, from: position)
    {
      if here == level { return child.key.position == position ? child : nil }
      pointer = child
      here -= 1
    }
    return nil
  }

  // MARK: - From pointers

  func checkPointersHaveBackpointers() throws(VolumeError) {
    let cursor = BTreeCursor(forest, .backpointers)
    try forEachNode { (pointer, btree, level) throws(VolumeError) in
      expectBackpointers(of: pointer, btree, level: level + 1, cursor)
    }
    for btree in [BTreeID.extents, .reflink] {
      try forEachKey(of: btree) { (found) throws(VolumeError) in
        guard found.key.type == .extent || found.key.type == .reflinkV else { return }
        expectBackpointers(of: found, btree, level: 0, cursor)
      }
    }
  }

  private func expectBackpointers(
    of found: KeyReference, _ btree: BTreeID, level: Int, _ cursor: BTreeCursor
  ) {
    for expected in backpointers(of: found, btree, level: level) {
      let there = try? cursor.lookup(expected.position)
      let value = there?.withValue { try? Backpointer(decoding: $0) }
      guard there?.key.type != .backpointer || value != expected.value else { continue }
      report(
        .ptr_to_missing_backpointer,
        "missing backpointer for btree=\(btree) l=\(level) \(text(found))\n  got:   "
          + "\(there.map(text) ?? "(none)")\n  want:  \(expected.position): \(expected.value)")
    }
  }
}
