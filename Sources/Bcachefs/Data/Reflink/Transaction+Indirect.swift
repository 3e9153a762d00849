// SPDX-License-Identifier: GPL-2.0
// Extents that several keys share: they move to the reflink btree, and their place is taken by a
// pointer to where they are.
//
// How it works
//   1. A new indirect extent goes behind the last one. Its users are counted by the triggers of the
//      pointers (Transaction+Reflink.swift): the first is the one that takes the extent's place.
//   2. That is a change of the extent's own key, in whatever snapshot it is: all who see it see the
//      same data as before.
// Invariants
//   (1) An indirect extent comes in the transaction that brings its first user.
// Locks: as all transactions; the end of the reflink btree is locked with intent.
// Source: reflink.c (bch2_make_extent_indirect, get_next_src).

internal import BcachefsFormat
internal import BcachefsSupport

extension KeyView {
  /// Whether a key of a file has data: what is only promised reads as zeros, as nothing does.
  func hasData(_ sizes: ExtentEntrySizes) throws(TransactionError) -> Bool {
    switch key.type {
    case .inlineData, .indirectInlineData, .reflinkP, .error: return true
    case .extent:
      return try decoded { (value) throws(FormatError) in
        let entries = ExtentEntries(value, keySize: key.size, sizes: sizes)
        var pointers = entries.pointers
        while let pointer = pointers.next() {
          if pointer.ptr.isUnwritten { return false }
        }
        return true
      }
    default: return false
    }
  }
}

extension Transaction {
  /// A pointer to the data of an extent, that others may have too.
  ///
  /// - Parameter found: Of the extents btree, with data. Where it is not a pointer yet it becomes
  ///   one, in the same snapshot. The volume says that it has such (`features`).
  func indirect(_ found: KeyView) throws(TransactionError) -> ReflinkP {
    switch found.key.type {
    case .reflinkP:
      return try found.decoded { (value) throws(FormatError) in try ReflinkP(decoding: value) }
    case .extent, .inlineData: return try makeIndirect(found)
    default:
      throw .failed(
        VolumeError(.allCopiesBad, "extent \(found.key.position): its data was lost before"))
    }
  }

  private func makeIndirect(_ found: KeyView) throws(TransactionError) -> ReflinkP {
    let key = found.key
    let last = try previous(.reflink, from: BPos(0, .max, .max), downTo: .min, .intent)
    let start = last.map { $0.key.position.offset } ?? 0
    let (end, overflow) = start.addingReportingOverflow(UInt64(key.size))
    guard !overflow, end >> 56 == 0, key.valueU64s < BKey.maxValueU64s else {
      throw .failed(VolumeError(.limit, "there is no room for another indirect extent"))
    }
    var words = InlineArray<250, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    ReflinkHead(refcount: 0).encode(into: &value)
    found.withValue { value.copy($0, to: ReflinkHead.byteCount) }
    let shared = BKey(
      type: key.type == .extent ? .reflinkV : .indirectInlineData, position: BPos(0, end),
      size: key.size, version: key.version, valueU64s: key.valueU64s + 1)
    update(.reflink, shared, value.bytes.extracting(first: shared.valueByteCount))
    let pointer = ReflinkP(index: start)
    put(
      pointer,
      as: BKey(type: .reflinkP, position: key.position, size: key.size, version: key.version))
    return pointer
  }

  private func put(_ pointer: ReflinkP, as key: BKey) {
    var key = key
    key.u64s = UInt8(BKey.headerU64s + ReflinkP.encodedU64s)
    var words = InlineArray<2, UInt64>(repeating: 0)
    var span = words.mutableSpan
    var value = unsafe span.mutableBytes
    pointer.encode(into: &value)
    update(.extents, key, value.bytes)
  }
}
