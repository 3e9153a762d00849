// SPDX-License-Identifier: GPL-2.0
// Numbers for new inodes.
//
// How it works
//   1. The numbers are shared out among as many shards as there are rows of transactions, by their
//      highest bits: threads that make files at the same time write to leaves of their own.
//   2. A shard's cursor is where its last number was. Numbers are taken from there on, those in use
//      in any snapshot left out; behind the last one from the start again.
//   3. When a volume is opened a cursor starts behind the last number in use, where the driver
//      starts at the first one and walks over all that are: so making the first file does not take
//      longer the more there are.
// Invariants
//   (1) A number that is used again goes to a file of another generation, which is drawn by lot: a
//       handle to the old file does not lead to the new one. The driver leaves a key where an inode
//       was, and does not use its number any more: a btree that only grows.
// Locks: none; cursors are atomics, and only say where to look first.
// Source: inode.c (bch2_inode_create).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

final class InodeNumbers: Sendable {
  /// Of all numbers: 31 with `inodes_32bit`, so that 32-bit programs see them.
  private let bits: UInt64
  private let shardBits: UInt64
  /// By shard, each in a cache line of its own; 0 until the first number.
  private let cursors = InlineArray<128, Atomic<UInt64>> { _ in Atomic(0) }
  private static var cursorStride: Int { 16 }

  init(_ options: VolumeOptions) {
    bits = options.isOn(.inodes32bit) ? 31 : 63
    shardBits = options.isOn(.shardInodeNumbers) ? 3 : 0
  }

  private func shard(_ row: Int) -> UInt64 { UInt64(row) & (1 << shardBits - 1) }

  /// The numbers of a transaction's shard.
  func range(_ row: Int) -> Range<UInt64> {
    let width = bits - shardBits
    let start = shard(row) << width
    return max(start, Positions.minInode)..<start + 1 << width - 1
  }

  /// Where to look first; 0 if nobody has looked yet.
  subscript(row: Int) -> UInt64 {
    get { cursors[Int(shard(row)) * Self.cursorStride].load(ordering: .relaxed) }
    set { cursors[Int(shard(row)) * Self.cursorStride].store(newValue, ordering: .relaxed) }
  }

  /// Notes which number was taken last.
  func note(_ number: UInt64, _ row: Int) {
    cursors[Int(shard(row)) * Self.cursorStride].store(number, ordering: .relaxed)
  }
}

extension Transaction {
  /// A number that no inode has, in any snapshot.
  ///
  /// - Throws: `.noSpace` where there is none left in the shard.
  func freeInodeNumber(_ numbers: InodeNumbers) throws(TransactionError) -> UInt64 {
    let range = numbers.range(counterRow)
    var start = numbers[counterRow]
    if start == 0 {
      let last = try previous(
        .inodes, from: BPos(0, range.upperBound, .max), downTo: BPos(0, range.lowerBound))
      start = last.map { $0.key.position.offset + 1 } ?? range.lowerBound
    }
    if !range.contains(start) { start = range.lowerBound }
    var number = try firstFree(start..<range.upperBound)
    if number == nil { number = try firstFree(range.lowerBound..<start) }
    guard let number else { throw .failed(VolumeError(.noSpace, "no inode number is free")) }
    numbers.note(number, counterRow)
    return number
  }

  private func firstFree(_ range: Range<UInt64>) throws(TransactionError) -> UInt64? {
    var number = range.lowerBound
    while number < range.upperBound {
      let found = try next(
        .inodes, from: BPos(0, number), upTo: BPos(0, range.upperBound - 1, .max), .intent)
      guard found?.key.position.offset == number else { return number }
      number += 1
    }
    return nil
  }
}
