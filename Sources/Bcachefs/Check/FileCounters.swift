// SPDX-License-Identifier: GPL-2.0
// The counters of files, one file after the other, as extents come.
//
// How it works
//   1. Extents are sorted by file: when the next one is of another file, the counters are complete,
//      and compared with the key in accounting.
//   2. Keys of files that have no extents are looked for at the end.
//   3. What a journal has of these keys are deltas, which add up; they are bounded by its size.
// Source: disk_accounting_format.h (BCH_DISK_ACCOUNTING_inum).

internal import BcachefsFormat
internal import BcachefsSupport

struct FileCounters {
  private let check: VolumeCheck
  private let cursor: BTreeCursor
  private let isWanted: Bool
  private var file: UInt64?
  private var sums: [Int64] = []

  init(_ check: VolumeCheck) {
    self.check = check
    // Keys of a journal are not laid over the btree's: they are deltas.
    cursor = BTreeCursor(
      BTreeForest(nodes: check.forest.nodes, roots: check.forest.roots, overlay: nil),
      .accounting)
    // Newer formats count files in other ways.
    isWanted =
      check.options.comparesFileCounters && !check.media.superblock.swapsAccountingPositions
  }

  mutating func add(_ deltas: [Int64], ofFile number: UInt64) throws(VolumeError) {
    guard isWanted else { return }
    if let file, file != number { try finish() }
    file = number
    sums.addCounters(deltas)
  }

  /// Compares the counters of the file that came last.
  mutating func finish() throws(VolumeError) {
    guard let number = file else { return }
    check.expect(.inode(number: number), try counters(of: number), sums)
    file = nil
    sums = []
  }

  private func counters(of number: UInt64) throws(VolumeError) -> [Int64] {
    let position = AccountingKey.inode(number: number).position
    var result: [Int64] = []
    var version = BVersion.zero
    if let found = try? cursor.lookup(position), found.key.type == .accounting {
      version = found.key.version
      result = (try? found.counters()) ?? []
    }
    guard let overlay = check.forest.overlay else { return result }
    let rows = overlay.range(.accounting, 0)
    var index = overlay.lowerBound(.accounting, 0, position)
    while index < rows.upperBound, overlay.rows[index].position == position {
      let delta = overlay.reference(at: index)
      index += 1
      guard delta.key.type == .accounting, version < delta.key.version else { continue }
      result.addCounters((try? delta.counters()) ?? [])
    }
    return result
  }

  /// Looks for counters of files that have nothing in a btree.
  func expectNoOthers(in btree: BTreeID) throws(VolumeError) {
    guard btree == .extents, isWanted else { return }
    let extents = BTreeCursor(check.forest, .extents)
    cursor.seek(.min)
    while let found = cursor.nextReadable() {
      try check.step()
      guard case .inode(let number)? = AccountingKey(found.key.position), number != 0 else {
        continue
      }
      let counters = try counters(of: number)
      guard counters.contains(where: { $0 != 0 }) else { continue }
      extents.seek(BPos(number, 0, 0))
      var hasExtents = false
      while !hasExtents, let extent = extents.nextReadable(), extent.key.position.inode == number {
        hasExtents = extent.key.type == .extent
      }
      if !hasExtents { check.expect(.inode(number: number), counters, []) }
    }
  }
}
