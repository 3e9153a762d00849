// SPDX-License-Identifier: GPL-2.0
// What pointers say of buckets, for as many buckets of a volume at a time as fit.
//
// How it works
//   All buckets of all members are numbered through; a table holds a range of these numbers.
// Invariants
//   (1) What lies outside the range is passed over without a word.

internal import BcachefsFormat
internal import BcachefsSupport

/// What points into a bucket.
struct BucketTally {
  var dirtySectors: UInt32 = 0
  var cachedSectors: UInt32 = 0
  var stripeSectors: UInt32 = 0
  var stripe: UInt32 = 0
  /// `DataType`, of what was put into it first.
  var dataType: UInt8 = 0
  var stripeRedundancy: UInt8 = 0
  /// As the bucket's key has it.
  var generation: UInt8 = 0
  var hasKey = false
}

struct BucketTable {
  private let firstNumbers: [UInt64]
  private let members: [MemberInfo]
  let range: Range<UInt64>
  private var tallies: [BucketTally]

  /// How many buckets the members have together.
  static func bucketCount(_ members: [MemberInfo]) -> UInt64 {
    members.reduce(0) { $0 + ($1.isAlive ? $1.bucketCount : 0) }
  }

  init(_ members: [MemberInfo], _ range: Range<UInt64>) {
    self.members = members
    self.range = range
    var next: UInt64 = 0
    firstNumbers = members.map { member in
      defer { next += member.isAlive ? member.bucketCount : 0 }
      return next
    }
    tallies = [BucketTally](
      repeating: BucketTally(), count: Int(range.upperBound - range.lowerBound))
  }

  /// The buckets of a member that are in the range.
  func buckets(of device: Int) -> Range<UInt64> {
    guard members[device].isAlive else { return 0..<0 }
    let first = firstNumbers[device]
    let start = max(range.lowerBound, first)
    let end = min(range.upperBound, first + members[device].bucketCount)
    return start < end ? start - first..<end - first : 0..<0
  }

  private func index(_ bucket: BPos) -> Int? {
    let device = Int(truncatingIfNeeded: bucket.inode)
    guard members.indices.contains(device), bucket.offset < members[device].bucketCount else {
      return nil
    }
    let number = firstNumbers[device] + bucket.offset
    return range.contains(number) ? Int(number - range.lowerBound) : nil
  }

  func contains(_ bucket: BPos) -> Bool { index(bucket) != nil }

  /// Of a bucket that is in the range.
  subscript(bucket: BPos) -> BucketTally {
    get { index(bucket).map { tallies[$0] } ?? BucketTally() }
    set { if let index = index(bucket) { tallies[index] = newValue } }
  }
}
