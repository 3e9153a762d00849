// SPDX-License-Identifier: GPL-2.0
// Positions and ranges of them, as people type them in upstream's notation.

internal import BcachefsFormat

extension BPos {
  /// From upstream's notation; the snapshot may be left out, and is 0 then.
  init?(text: String) {
    switch text {
    case "POS_MIN": self = .min
    case "POS_MAX": self = BPos(.max, .max, 0)
    case "SPOS_MAX": self = .max
    default:
      let fields = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      guard 2...3 ~= fields.count,
        let inode = fields[0] == "U64_MAX" ? .max : UInt64(fields[0]),
        let offset = fields[1] == "U64_MAX" ? .max : UInt64(fields[1])
      else { return nil }
      var snapshot: UInt32 = 0
      if fields.count == 3 {
        guard let number = fields[2] == "U32_MAX" ? .max : UInt32(fields[2]) else { return nil }
        snapshot = number
      }
      self = BPos(inode, offset, snapshot)
    }
  }
}

/// A position in one of the btrees (`struct bbpos`).
struct BTreePosition: Hashable, Comparable {
  var btree: BTreeID
  var position: BPos

  init(_ btree: BTreeID, _ position: BPos) {
    self.btree = btree
    self.position = position
  }

  /// From `BTREE:POS`.
  init?(text: String) {
    let fields = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard fields.count == 2,
      let number = BTreeID.table.firstIndex(where: { "\($0.name)" == fields[0] }),
      let position = BPos(text: String(fields[1]))
    else { return nil }
    self.init(BTreeID(rawValue: UInt8(number)), position)
  }

  static func < (a: BTreePosition, b: BTreePosition) -> Bool {
    a.btree != b.btree ? a.btree.rawValue < b.btree.rawValue : a.position < b.position
  }
}

extension ClosedRange<BTreePosition> {
  /// From `BTREE:POS` or `BTREE:POS-BTREE:POS`; nil for anything else, and for an end before the
  /// start.
  init?(text: String) {
    let fields = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard let start = BTreePosition(text: String(fields[0])) else { return nil }
    let end = fields.count == 2 ? BTreePosition(text: String(fields[1])) : start
    guard let end, start <= end else { return nil }
    self = start...end
  }

  /// Whether a key's position lies within. A range that names no snapshots takes all of them.
  func contains(_ btree: BTreeID, _ position: BPos) -> Bool {
    var place = BTreePosition(btree, position)
    if lowerBound.position.snapshot == 0 && upperBound.position.snapshot == 0 {
      place.position.snapshot = 0
    }
    return contains(place)
  }
}
