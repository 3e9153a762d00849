// SPDX-License-Identifier: GPL-2.0
// The key that leads to a live node: of type btree_ptr_v2, kept with the node.

internal import BcachefsFormat
internal import BcachefsSupport

/// A key of type btree_ptr_v2 with its value, unpacked (`BKEY_PADDED(btree_ptr)`).
struct NodePointer {
  /// `BKEY_BTREE_PTR_U64s_MAX`
  static var wordsMax: Int { BKey.headerU64s + BTreePtrV2.maxU64s }

  private var words = InlineArray<14, UInt64>(repeating: 0)

  /// No pointer.
  init() {}

  init(
    maxKey: BPos, sequence: UInt64, sectorsWritten: Int, minKey: BPos, places: [ExtentPtr]
  ) throws(VolumeError) {
    let head = BTreePtrV2(
      seq: sequence, sectorsWritten: UInt16(truncatingIfNeeded: sectorsWritten), minKey: minKey)
    guard places.count <= BTreePtrV2.maxU64s - BTreePtrV2.encodedU64s else {
      throw VolumeError(
        .limit, "a btree node has \(places.count) places, more than fit its pointer")
    }
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    do {
      var value = bytes._mutatingExtracting(BKey.Layout.byteCount..<bytes.byteCount)
      head.encode(into: &value)
      var writer = ExtentWriter(at: BTreePtrV2.Layout.byteCount)
      do throws(FormatError) {
        for place in places { try writer.append(place, to: &value) }
      } catch {
        throw VolumeError(error)
      }
    }
    let key = BKey(
      type: .btreePtrV2, position: maxKey, valueU64s: BTreePtrV2.encodedU64s + places.count)
    key.encode(into: &bytes)
  }

  /// - Throws: `.corrupt` when the value is larger than a pointer's, or does not begin with a
  ///   place: what nothing in the cache could be found by.
  init(_ key: BKey, _ value: RawSpan) throws(VolumeError) {
    guard key.type == .btreePtrV2, Int(key.u64s) <= Self.wordsMax,
      value.byteCount == key.valueByteCount, NodeIdentity(.btreePtrV2, value) != nil
    else {
      throw VolumeError(.corrupt, "\(key): not the pointer to a btree node that it should be")
    }
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    key.encode(into: &bytes)
    bytes.copy(value, to: BKey.Layout.byteCount)
    bytes[LEField<UInt64>(BKey.Layout.byteCount + BTreePtrV2.Layout.memoryPointer.offset)] = 0
  }

  var isNone: Bool { words[0] == 0 }

  var key: BKey { BKey(uncheckedUnpacked: unsafe words.span.bytes, at: 0) }

  /// Words of key and value.
  var wordCount: Int { Int(UInt8(truncatingIfNeeded: words[0])) }

  /// Calls `body` with the value.
  func withValue<Result, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe body(words.span.bytes.extracting(BKey.Layout.byteCount..<wordCount * 8))
  }

  /// Calls `body` with key and value.
  func withWords<Result, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe body(words.span.bytes.extracting(0..<wordCount * 8))
  }

  private func field<Value>(_ field: LEField<Value>) -> Value {
    unsafe words.span.bytes[LEField<Value>(BKey.Layout.byteCount + field.offset)]
  }

  var sequence: UInt64 { field(BTreePtrV2.Layout.seq) }

  var minKey: BPos {
    BPos(decoding: unsafe words.span.bytes, at: BKey.Layout.byteCount + BTreePtrV2.Layout.minKey)
  }

  /// Sectors of the node that hold bsets.
  var sectorsWritten: Int {
    get { Int(field(BTreePtrV2.Layout.sectorsWritten)) }
    set {
      var span = words.mutableSpan
      var bytes = unsafe span.mutableBytes
      let place = BKey.Layout.byteCount + BTreePtrV2.Layout.sectorsWritten.offset
      bytes[LEField<UInt16>(place)] = UInt16(truncatingIfNeeded: newValue)
    }
  }

  /// Where the copies are.
  var places: [ExtentPtr] {
    withValue { value in
      var found: [ExtentPtr] = []
      var pointers = ExtentEntries(
        value.extracting(BTreePtrV2.Layout.byteCount..<value.byteCount), keySize: 0
      ).pointers
      while let next = pointers.next() { found.append(next.ptr) }
      return found
    }
  }

  /// Keeps only the copies that `isGood` holds for.
  mutating func removePlaces(unless isGood: (ExtentPtr) -> Bool) throws(VolumeError) {
    let kept = places.filter(isGood)
    let old = self
    self = try NodePointer(
      maxKey: old.key.position, sequence: old.sequence, sectorsWritten: old.sectorsWritten,
      minKey: old.minKey, places: kept)
  }

  /// What names the node in the cache.
  var identity: NodeIdentity? {
    isNone ? nil : withValue { NodeIdentity(.btreePtrV2, $0) }
  }
}
