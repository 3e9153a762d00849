// SPDX-License-Identifier: GPL-2.0
// Builds one btree bottom-up from keys that arrive in order.
//
// How it works
//   1. Keys are collected, unpacked, in the open node of level 0 together with the range of each of
//      their fields. The node is full when its keys, packed in the narrowest format for that range,
//      would exceed the fill limit (three quarters: later insertions then need no split), or, for
//      btrees whose shape is planned ahead, when it has its number of keys.
//   2. A full node is packed and written; the pointer to it is a key of level 1, and so on upwards.
//   3. `finish` closes every level; the first level with a single node is the root.
// Invariants
//   (1) Positions ascend strictly.
//   (2) Nodes of a level cover the key space without gap: a node's min_key is the successor of the
//       max_key before it; the first is POS_MIN, the last max_key is SPOS_MAX.
//   (3) With a plan, the number of nodes depends on the number of keys alone.
// Source: btree_update_interior.c (node formats, fill thresholds).

internal import BcachefsFormat
internal import BcachefsSupport

/// When a node of a bulk-built btree is full.
enum NodeFill {
  /// By the size of its packed keys.
  case bySize
  /// By count, so that the number of nodes is known before there are keys: `keyCount` keys, spread
  /// evenly over `leafCount` leaves; a single leaf may be empty.
  case byPlan(keyCount: Int, leafCount: Int, childrenPerNode: Int)
}

final class BTreeBuilder {
  /// The keys of a node that is still open.
  private final class OpenNode {
    let keys: HeapBuffer
    /// The pointer to the node that was written last. Each level has its own: adding the pointer to
    /// the level above may write a node, and so make a pointer, there.
    let pointerValue = HeapBuffer(byteCount: BTreePtrV2.maxU64s * 8)
    var byteCount = 0
    var keyCount = 0
    var valueU64s = 0
    var range = BKeyFormatRange()
    var minKey: BPos
    var lastPosition = BPos.min
    /// Nodes of this level already written.
    var written = 0

    init(capacityBytes: Int) {
      keys = HeapBuffer(byteCount: capacityBytes)
      minKey = .min
      range.add(BPos.min)
    }
  }

  let btree: BTreeID
  private let writer: NodeWriter
  private let fill: NodeFill
  private var levels: [OpenNode] = []
  private let image: HeapBuffer
  private let fillLimitU64s: Int

  init(_ btree: BTreeID, writer: NodeWriter, fill: NodeFill = .bySize) {
    self.btree = btree
    self.writer = writer
    self.fill = fill
    image = HeapBuffer(byteCount: writer.parameters.nodeBytes)
    let capacity = BTreeBuilder.capacityU64s(nodeBytes: writer.parameters.nodeBytes)
    switch fill {
    case .bySize: fillLimitU64s = capacity * 3 / 4
    case .byPlan: fillLimitU64s = capacity
    }
  }

  /// Words of keys that a node can hold.
  static func capacityU64s(nodeBytes: Int) -> Int {
    min((nodeBytes - BTreeNodeHeader.Layout.keys) / 8, Int(UInt16.max))
  }

  /// How many nodes a planned btree of `leafCount` leaves has, on all levels.
  static func plannedNodes(leafCount: Int, childrenPerNode: Int) -> Int {
    var level = leafCount
    var total = level
    while level > 1 {
      level = (level + childrenPerNode - 1) / childrenPerNode
      total += level
    }
    return total
  }

  /// Adds a key.
  ///
  /// - Precondition: positions ascend; `value` has `key.valueByteCount` bytes.
  func add(_ key: BKey, _ value: RawSpan) throws(ImageError) {
    try add(key, value, level: 0)
  }

  private func add(_ key: BKey, _ value: RawSpan, level: Int) throws(ImageError) {
    invariant(value.byteCount == key.valueByteCount, "a key says how long its value is")
    if level == levels.count {
      guard level < BTreeNodeHeader.maxDepth else { throw .btreeTooDeep(btree) }
      openLevel()
    }
    let node = levels[level]
    invariant(
      node.keyCount == 0
        ? node.written == 0 || key.position >= node.minKey
        : key.position > node.lastPosition, "keys of a btree ascend")
    if isFull(node, with: key, level: level) { try flush(level: level, maxKey: node.lastPosition) }
    append(key, value, to: node)
  }

  private func openLevel() {
    // Packed keys are at least a word: unpacked they take five.
    levels.append(OpenNode(capacityBytes: (fillLimitU64s + BKey.maxValueU64s) * 5 * 8))
  }

  private func append(_ key: BKey, _ value: RawSpan, to node: OpenNode) {
    let offset = node.byteCount
    let keys = node.keys
    var bytes = keys.mutableBytes
    key.encode(into: &bytes, at: offset)
    bytes.copy(value, to: offset + BKey.Layout.byteCount)
    node.byteCount = offset + Int(key.u64s) * 8
    node.keyCount += 1
    node.valueU64s += key.valueU64s
    node.range.add(key)
    node.lastPosition = key.position
  }

  private func isFull(_ node: OpenNode, with key: BKey, level: Int) -> Bool {
    guard node.keyCount > 0 else { return false }
    if case .byPlan(let keyCount, let leafCount, let childrenPerNode) = fill {
      guard level == 0 else { return node.keyCount >= childrenPerNode }
      let share = keyCount / leafCount + (node.written < keyCount % leafCount ? 1 : 0)
      return node.keyCount >= share
    }
    let keys = node.keyCount + 1
    let values = node.valueU64s + key.valueU64s
    // The cheap bound first: no format is wider than unpacked keys.
    guard keys * BKey.headerU64s + values > fillLimitU64s else { return false }
    guard node.byteCount + Int(key.u64s) * 8 <= node.keys.byteCount else { return true }
    var range = node.range
    range.add(key)
    return keys * Int(range.format().keyU64s) + values > fillLimitU64s
  }

  /// Writes the open node of `level` and hands the pointer to the level above.
  private func flush(level: Int, maxKey: BPos) throws(ImageError) {
    let key = try writeNode(level: level, maxKey: maxKey)
    let value = levels[level].pointerValue
    try add(key, value.bytes.extracting(0..<key.valueByteCount), level: level + 1)
  }

  private func writeNode(level: Int, maxKey: BPos) throws(ImageError) -> BKey {
    let node = levels[level]
    let format = node.range.format()
    let (keys, image) = (node.keys, self.image)
    var bytes = image.mutableBytes
    var out = BTreeNodeHeader.Layout.keys
    var offset = 0
    while offset < node.byteCount {
      let source = keys.bytes
      let key = BKey(uncheckedUnpacked: source, at: offset)
      let isPacked = format.pack(key, into: &bytes, at: out)
      if isPacked {
        out += Int(format.keyU64s) * 8
      } else {
        key.encode(into: &bytes, at: out)
        out += BKey.Layout.byteCount
      }
      let valueStart = offset + BKey.Layout.byteCount
      bytes.copy(
        source.extracting(valueStart..<valueStart + key.valueByteCount), to: out)
      out += key.valueByteCount
      offset += Int(key.u64s) * 8
    }
    let u64s = (out - BTreeNodeHeader.Layout.keys) / 8
    let blockBytes = writer.parameters.blockBytes
    let end = min((out + blockBytes - 1) / blockBytes * blockBytes, image.byteCount)
    bytes.zero(out..<end)
    let key = try writer.write(
      image, u64s: u64s, btree: btree, level: level, minKey: node.minKey, maxKey: maxKey,
      format: format, value: node.pointerValue)
    node.byteCount = 0
    node.keyCount = 0
    node.valueU64s = 0
    node.written += 1
    node.range = BKeyFormatRange()
    node.minKey = maxKey.successor ?? .max
    node.range.add(node.minKey)
    return key
  }

  /// The root of a finished btree.
  struct Root {
    let btree: BTreeID
    let level: Int
    let key: BKey
    /// Words of the pointer's value.
    let value: [UInt64]
  }

  /// Closes all levels.
  ///
  /// - Returns: the root, nil for a btree without keys, unless a leaf was planned for it.
  func finish() throws(ImageError) -> Root? {
    if levels.isEmpty, case .byPlan(_, let leafCount, _) = fill, leafCount > 0 { openLevel() }
    var level = 0
    while level < levels.count {
      let isTop = level == levels.count - 1 && levels[level].written == 0
      let key = try writeNode(level: level, maxKey: .max)
      let buffer = levels[level].pointerValue
      let value = buffer.bytes.extracting(0..<key.valueByteCount)
      if isTop {
        let words = (0..<key.valueU64s).map { value[LEField<UInt64>($0 * 8)] }
        return Root(btree: btree, level: level, key: key, value: words)
      }
      try add(key, value, level: level + 1)
      level += 1
    }
    return nil
  }
}
