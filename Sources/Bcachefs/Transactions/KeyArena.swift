// SPDX-License-Identifier: GPL-2.0
// Where a transaction keeps the keys that it is going to commit.
//
// Invariants
//   (1) What was put in stays where it is until `reset`: memory is added, never moved.

internal import BcachefsFormat
internal import BcachefsSupport

/// Memory that is only given back as a whole.
@safe
struct KeyArena: ~Copyable {
  private static var blockWords: Int { 8192 }

  private var blocks: [UnsafeMutablePointer<UInt64>]
  private var current: UnsafeMutablePointer<UInt64>
  private var used = 0
  private var block = 0

  init() {
    unsafe current = .allocate(capacity: Self.blockWords)
    unsafe blocks = [current]
  }

  deinit { unsafe blocks.forEach { unsafe $0.deallocate() } }

  /// Room for a key.
  @unsafe @inline(__always)
  mutating func take(words: Int) -> UnsafeMutablePointer<UInt64> {
    if used &+ words > Self.blockWords { nextBlock() }
    let place = unsafe current + used
    used &+= words
    return unsafe place
  }

  private mutating func nextBlock() {
    block += 1
    if unsafe block == blocks.count {
      unsafe blocks.append(.allocate(capacity: Self.blockWords))
    }
    unsafe current = blocks[block]
    used = 0
  }

  @inline(__always) mutating func reset() {
    used = 0
    if block > 0 {
      block = 0
      unsafe current = blocks[0]
    }
  }
}
