// SPDX-License-Identifier: GPL-2.0
// What is counted over the whole life of a volume: events, and I/O errors of members. Counted in
// memory by anybody, written with whatever superblock is written next.
//
// How it works
//   1. Both begin with what the superblock says and only grow, so writing them is copying them:
//      a superblock that could not be written loses nothing.
//   2. The places of the section `counters` are the numbers of `PersistentCounter`. Places that a
//      newer format has behind them are kept.
//   3. Events are counted in several rows, far apart in memory: threads that count the same event
//      each have a row of their own (most of the time), and do not wait for each other's cache
//      lines. A counter is the sum of its column.
// Invariants
//   (1) Counting is one relaxed atomic addition: no lock, no allocation, no reference counting.
// Locks: none. Source: sb-counters.c, sb-members.c (bch2_sb_members_from_cpu).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

/// Counters of events that survive mounts, by `PersistentCounter`.
final class PersistentCounters: Sendable {
  static let rowCount = 8
  /// Words from one row to the next: all counters, rounded up to whole pairs of cache lines.
  private static let rowWords = 96

  private let values: InlineArray<768, Atomic<UInt64>>
  private let nextRow = Atomic<Int>(0)
  /// What they were when the volume was opened.
  private let atOpen: [UInt64]

  /// - Parameter stored: What the superblock says; all that it does not say is zero.
  init(_ stored: [UInt64] = []) {
    let first = (0..<PersistentCounter.nativeCount).map { $0 < stored.count ? stored[$0] : 0 }
    atOpen = first
    values = InlineArray { Atomic($0 < first.count ? first[$0] : 0) }
    invariant(
      PersistentCounter.nativeCount <= Self.rowWords && Self.rowCount * Self.rowWords == 768,
      "there is room for every counter in every row")
  }

  convenience init(_ superblock: Superblock) {
    self.init(superblock.section(of: CountersSection.self)?.values ?? [])
  }

  /// A row for somebody who will count much.
  func takeRow() -> Int {
    nextRow.wrappingAdd(1, ordering: .relaxed).oldValue & (Self.rowCount - 1)
  }

  /// Counts `amount` more.
  ///
  /// - Parameter row: As `takeRow` gave it; 0 does for what is not counted often.
  @inline(__always)
  func add(_ counter: PersistentCounter, _ amount: UInt64 = 1, row: Int = 0) {
    values[row &* Self.rowWords &+ Int(counter.rawValue)].wrappingAdd(amount, ordering: .relaxed)
  }

  /// Since the volume was made.
  subscript(_ counter: PersistentCounter) -> UInt64 {
    (0..<Self.rowCount).reduce(0) { sum, row in
      sum &+ values[row * Self.rowWords + Int(counter.rawValue)].load(ordering: .relaxed)
    }
  }

  /// Since the volume was opened.
  func sinceOpen(_ counter: PersistentCounter) -> UInt64 {
    self[counter] &- atOpen[Int(counter.rawValue)]
  }

  /// Puts them in the superblock's section, which grows to hold them all.
  func merge(into superblock: inout Superblock) {
    var stored = superblock.section(of: CountersSection.self)?.values ?? []
    while stored.count < PersistentCounter.nativeCount { stored.append(0) }
    for counter in PersistentCounter.all { stored[Int(counter.rawValue)] = self[counter] }
    superblock.setSection(.counters(CountersSection(values: stored)))
  }
}

/// I/O errors of each member since the volume was made, by `MemberErrorType`.
final class MemberErrors: Sendable {
  private let values: InlineArray<192, Atomic<UInt64>>

  init(_ superblock: Superblock) {
    let members = superblock.members
    values = InlineArray { place in
      let (index, type) = (place / 3, place % 3)
      return Atomic(members.indices.contains(index) ? members[index].errors[type] : 0)
    }
  }

  private static func place(_ type: MemberErrorType, _ member: Int) -> Int {
    invariant(member >= 0 && member < 64 && type.rawValue < 3, "a member's error has a place")
    return member * 3 + Int(type.rawValue)
  }

  /// Counts one more error of a member.
  func add(_ type: MemberErrorType, member: Int) {
    values[Self.place(type, member)].wrappingAdd(1, ordering: .relaxed)
  }

  func count(_ type: MemberErrorType, member: Int) -> UInt64 {
    values[Self.place(type, member)].load(ordering: .relaxed)
  }

  /// All three of a member, by `MemberErrorType`.
  func counts(member: Int) -> [UInt64] {
    (0..<3).map { count(MemberErrorType(rawValue: $0), member: member) }
  }

  /// Begins a slot anew, for another device.
  func clear(member: Int) {
    for type in 0..<3 { values[member * 3 + type].store(0, ordering: .relaxed) }
  }

  /// Puts them in the superblock's list of members.
  func merge(into superblock: inout Superblock) {
    superblock.changeMembers { members in
      for index in members.indices where members[index].isAlive && index < 64 {
        members[index].errors = counts(member: index)
      }
    }
  }
}
