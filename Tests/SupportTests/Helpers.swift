// SPDX-License-Identifier: GPL-2.0
// Bytes in and out of spans, for tests.

import BcachefsSupport

/// The bytes that `text` spells, two hexadecimal digits each; spaces are skipped.
func hex(_ text: String) -> [UInt8] {
  let digits = text.compactMap(\.hexDigitValue).map { UInt8($0) }
  return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// `count` bytes from a seed: random, or (with few different values) compressible.
func randomBytes(_ count: Int, _ random: inout RandomSource, values: UInt8? = nil) -> [UInt8] {
  (0..<count).map { _ in
    let byte = UInt8(truncatingIfNeeded: random.next() >> 24)
    return values.map { byte % $0 } ?? byte
  }
}

/// A seed of its own for every run, so that failures can be repeated.
func newSeed(_ name: String = #function) -> UInt64 {
  let seed = UInt64.random(in: 0...UInt64.max)
  print("\(name) seed \(seed)")
  return seed
}
