// SPDX-License-Identifier: GPL-2.0
// The queue of files that have something to be written, beside a dictionary.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct DirtyFilesTests {
  @Test(arguments: 0..<UInt64(20))
  func theOldestIsAlwaysTheOneThatIsDirtyForLongest(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var (dirty, model) = (DirtyFiles(), [UInt64: UInt64]())
    for now in 1...UInt64(2000) {
      let number = random.next() % 40
      let file = FileID(subvolume: 1, inode: number)
      if random.next() % 2 == 0 {
        dirty.insert(file, now: now)
        if model[number] == nil { model[number] = now }
      } else {
        dirty.remove(file)
        model[number] = nil
      }
      #expect(dirty.contains(file) == (model[number] != nil), "seed \(seed)")
      let limit = random.next() % (now + 1)
      let oldest = model.min { $0.value < $1.value }
      let expected = oldest.flatMap { $0.value <= limit ? $0.key : nil }
      #expect(dirty.oldest(since: limit)?.inode == expected, "seed \(seed), step \(now)")
    }
    #expect(dirty.files.count == model.count, "seed \(seed)")
  }
}
