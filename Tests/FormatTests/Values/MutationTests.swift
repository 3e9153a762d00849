// SPDX-License-Identifier: GPL-2.0
// Bytes from a broken or hostile disk must never trap: every decoder, printer and validator is run
// on the kernel's keys with bits flipped, lengths cut and types swapped.

import BcachefsFormat
import BcachefsSupport
import Testing

struct MutationTests {
  @Test func mutatedKeysNeverTrap() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("seed \(seed)")
    var random = SplitMix64(seed: seed)
    let volumes = GoldenVolume.all
    try #require(!volumes.isEmpty)
    var errors = 0
    for _ in 0..<6000 {
      let volume = volumes[Int(random.next() % UInt64(volumes.count))]
      let golden = volume.keys[Int(random.next() % UInt64(volume.keys.count))]
      var value = golden.value
      var header = golden.header
      for _ in 0..<(random.next() % 6) where !value.isEmpty {
        let at = Int(random.next() % UInt64(value.count))
        value[at] = random.next() % 3 == 0 ? 0xff : UInt8(truncatingIfNeeded: random.next())
      }
      if random.next() % 4 == 0 {
        value.removeLast(min(value.count, Int(random.next() % UInt64(value.count + 1))))
      }
      if random.next() % 3 == 0 { header[2] = UInt8(random.next() % 37) }
      if random.next() % 2 == 0 {
        header[16 + Int(random.next() % 24)] = UInt8(truncatingIfNeeded: random.next())
      }
      let key = try BKey(decoding: header.raw)
      errors += exercise(key, value, volume.context, &random)
    }
    #expect(errors > 100)
  }

  /// Runs all that reads a value; returns 1 if validation found fault.
  private func exercise(
    _ key: BKey, _ value: [UInt8], _ context: BKeyContext, _ random: inout SplitMix64
  ) -> Int {
    _ = BKeyValue.text(key: key, value: value.raw, context: context)
    _ = BKeyValue.text(key: key, value: value.raw)
    _ = Positions.lruText(key.position)
    _ = Positions.firstBucket(ofGens: key.position)
    if let kind = AccountingKey(key.position) { _ = kind.position }
    let btree = BTreeID(rawValue: UInt8(random.next() % 23))
    do {
      try BKeyValue.validateValue(key: key, value: value.raw, context: context)
      try BKeyValue.validate(
        key: key, value: value.raw, btree: btree, level: Int(random.next() % 2),
        context: context, flags: [.write, .commit, .lruChecked])
    } catch {
      return 1
    }
    return 0
  }
}
