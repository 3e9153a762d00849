// SPDX-License-Identifier: GPL-2.0
// Accounting keys: what the journal has are deltas, what the btree has are sums.
//
// A sum has the version of the newest delta in it, which is where that stands in the journal: so a
// delta that is found again is not added again. For that to hold all deltas before it have to be in
// the sum: they are added in the order of the journal, an entry as a whole.
// Source: disk_accounting.c (bch2_accounting_accumulate, accounting_read_key).

internal import BcachefsFormat

/// The counters of one accounting key.
private struct CounterSum {
  private let position: BPos
  private var version = BVersion.zero
  private var counters: [Int64] = []
  private var isChanged = false

  init(_ position: BPos) { self.position = position }

  /// Begins with what the btree has.
  fileprivate mutating func begin(with old: KeyView) {
    guard old.key.type == .accounting else { return }
    version = old.key.version
    old.withValue { add($0) }
  }

  /// Adds a delta, if it is newer than what is in the sum.
  fileprivate mutating func add(_ key: BKey, _ value: RawSpan) {
    guard key.type == .accounting, version < key.version else { return }
    version = key.version
    isChanged = true
    add(value)
  }

  private mutating func add(_ value: RawSpan) {
    for counter in 0..<value.byteCount / 8 {
      if counter == counters.count { counters.append(0) }
      counters[counter] &+= value[LEField<Int64>(counter * 8)]
    }
  }

  /// Makes the sum an update.
  fileprivate func put(in transaction: Transaction) {
    guard isChanged else { return }
    let key = BKey(
      type: .accounting, position: position, version: version, valueU64s: counters.count)
    unsafe transaction.update(
      .accounting, key, counters.span.bytes, flags: [.noTriggers, .notJournalled])
  }
}

extension Transaction {
  /// Adds deltas that the journal has to the sum in the btree.
  ///
  /// - Parameter forEach: Hands over all deltas, in the order of the journal.
  func addDeltas(
    _ position: BPos, _ forEach: ((BKey, RawSpan) -> Void) -> Void
  ) throws(TransactionError) {
    var sum = CounterSum(position)
    if let old = try lookup(.accounting, position, .intent) { sum.begin(with: old) }
    forEach { (key, value) in sum.add(key, value) }
    sum.put(in: self)
  }
}
