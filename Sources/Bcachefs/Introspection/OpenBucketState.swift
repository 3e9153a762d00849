// SPDX-License-Identifier: GPL-2.0
// The buckets that are written to, and the streams that fill them.
//
// How it works
//   Streams are looked at first, each with its own lock, then what is open: a bucket that a stream
//   takes or gives up meanwhile may be shown without holder, or as partial.
// Locks: a write point's, then that of the open buckets; leaves, one after the other.
// Source: alloc_foreground.c (bch2_open_buckets_to_text, bch2_write_points_to_text).

internal import BcachefsFormat
internal import BcachefsSupport

/// A bucket that somebody may write to.
struct OpenBucketState: Sendable, Equatable {
  /// Who fills it next.
  enum Holder: Sendable, Equatable {
    /// The stream of this name.
    case writePoint(String)
    /// Nobody: the next that needs one of its type.
    case partial
    /// Nobody any more: what was put into it is not committed yet.
    case allocations
  }

  let device: UInt8
  let bucket: UInt64
  /// Reasons that there are to keep it open.
  let references: Int
  let holder: Holder
  /// Of what is filled, nil; so are generation and type of data.
  let freeSectors: UInt64?
  let generation: UInt8?
  let dataType: DataType?
}

/// A stream of data.
struct WritePointState: Sendable {
  let name: String
  let dataType: DataType
  let buckets: [OpenBucketState]
  /// By device, how far its clock has come: the next bucket is opened where it is least.
  let clocks: [(device: UInt8, clock: UInt64)]
}

extension OpenBucketState {
  fileprivate init(_ bucket: OpenBucket, _ holder: Holder, references: Int) {
    self.init(
      device: bucket.device, bucket: bucket.position.offset, references: references,
      holder: holder, freeSectors: bucket.freeSectors, generation: bucket.generation,
      dataType: bucket.dataType)
  }
}

extension Engine {
  /// The streams, those with nothing open included.
  var writePointStates: [WritePointState] {
    let named = writePoints.named.map { ($0.name, $0.point, $0.point.shown) }
    let users = openBuckets.shown.users
    return named.map { name, point, shown in
      WritePointState(
        name: name, dataType: point.dataType,
        buckets: shown.buckets.map {
          OpenBucketState($0, .writePoint(name), references: users[$0.position] ?? 0)
        },
        clocks: zip(point.devices, shown.clocks).map { ($0, $1) })
    }
  }

  /// All open buckets, by device and number.
  var openBucketStates: [OpenBucketState] {
    var holders: [BPos: (OpenBucket, OpenBucketState.Holder)] = [:]
    for (name, point) in writePoints.named {
      for bucket in point.shown.buckets { holders[bucket.position] = (bucket, .writePoint(name)) }
    }
    let (users, partial) = openBuckets.shown
    for bucket in partial { holders[bucket.position] = (bucket, .partial) }
    return users.sorted { $0.key < $1.key }.map { position, references in
      if let (bucket, holder) = holders[position] {
        return OpenBucketState(bucket, holder, references: references)
      }
      return OpenBucketState(
        device: UInt8(truncatingIfNeeded: position.inode), bucket: position.offset,
        references: references, holder: .allocations, freeSectors: nil, generation: nil,
        dataType: nil)
    }
  }
}
