// SPDX-License-Identifier: GPL-2.0

/// What may have been meant by a word that nobody knows.
enum Suggestion {
  /// The closest of `names`, nil when none is near.
  static func nearest(to word: String, among names: [String]) -> String? {
    let limit = max(2, word.count / 3)
    var best: (name: String, distance: Int)?
    for name in names {
      let distance = editDistance(Array(word), Array(name))
      guard distance <= limit else { continue }
      if let best, best.distance <= distance { continue }
      best = (name, distance)
    }
    return best?.name
  }

  /// Insertions, deletions, replacements, and swaps of neighbours.
  private static func editDistance(_ left: [Character], _ right: [Character]) -> Int {
    var rows = [Array(0...right.count)]
    for i in 0..<left.count {
      var row = [i + 1]
      for j in 0..<right.count {
        let replaced = rows[i][j] + (left[i] == right[j] ? 0 : 1)
        var least = min(replaced, rows[i][j + 1] + 1, row[j] + 1)
        if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
          least = min(least, rows[i - 1][j - 1] + 1)
        }
        row.append(least)
      }
      rows.append(row)
    }
    return rows[left.count][right.count]
  }
}
