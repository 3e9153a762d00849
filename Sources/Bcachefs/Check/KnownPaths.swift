// SPDX-License-Identifier: GPL-2.0
// Ways up: from directories to the root of their subvolume, and from subvolumes to the first one.
//
// How it works
//   1. A walk up ends at the top, nowhere, in a circle, or at a place from which another walk has
//      gone before: where that one ended is known.
//   2. Circles are found by Brent's method: a place is kept, and compared with those that follow,
//      and replaced by the newest after 1, 2, 4, 8, ... steps. That takes no memory.
//   3. Then the way is walked again, and all its places are remembered.
// Invariants
//   (1) What is remembered is a cache of fixed size: it saves walks, and is never needed to be
//       complete. As long as it has room for all places, each is walked from a few times at most.
//   (2) A circle is told of once as long as one of its places is remembered, and a place that hangs
//       on one is none.
// Source: fsck.c (check_path, check_subvol_path), which keep each way as a list.

internal import BcachefsSupport

/// A directory in a snapshot, or a subvolume.
struct PathPlace: Hashable {
  let number: UInt64
  let snapshot: UInt32

  init(_ number: UInt64, _ snapshot: UInt32 = 0) {
    self.number = number
    self.snapshot = snapshot
  }

  /// Spreads places over the cache.
  fileprivate var slot: UInt64 {
    (number ^ UInt64(snapshot) << 32 ^ UInt64(snapshot)) &* 0x9e37_79b9_7f4a_7c15 >> 16
  }
}

/// The next place on a way up.
enum PathStep {
  case next(PathPlace)
  /// There is none above.
  case top
  /// What should be above is not there.
  case nowhere
}

/// Where a way up ends.
enum PathEnd {
  /// At the top, or where others have gone.
  case known
  /// Below a place that is not there.
  case nowhere(PathPlace)
  /// In a circle that nobody has told of, with its first places.
  case loop([PathPlace])
}

/// Places from which walks have gone.
struct KnownPaths {
  private var slots: [PathPlace?]

  /// - Parameters:
  ///   - count: How many places there are.
  ///   - limit: Bytes that it may take.
  init(_ count: Int, limit: Int) {
    let wanted = max(min(count, 1 << 40) * 8, 4096)
    let slotsMax = max(limit / MemoryLayout<PathPlace?>.stride, 16)
    slots = [PathPlace?](repeating: nil, count: min(wanted, slotsMax))
  }

  private func index(_ place: PathPlace) -> Int { Int(place.slot % UInt64(slots.count)) }

  func contains(_ place: PathPlace) -> Bool { slots[index(place)] == place }

  mutating func insert(_ place: PathPlace) { slots[index(place)] = place }
}

extension VolumeCheck {
  /// Places of a circle that are told, and of a way that are kept.
  private static var toldMax: Int { 16 }

  /// Walks up from a place, and remembers the places on the way.
  ///
  /// - Parameter step: Asked for each place on the way, some of them more than once.
  /// - Throws: `.cancelled`
  func followPath(
    from start: PathPlace, _ paths: inout KnownPaths, _ step: (PathPlace) -> PathStep
  ) throws(VolumeError) -> PathEnd {
    var kept = start
    var (length, power) = (0, 1)
    var place = start
    var way: [PathPlace] = []
    var count = 0
    var end = PathEnd.known
    walk: while !paths.contains(place) {
      try self.step()
      if way.count < Self.toldMax { way.append(place) }
      count += 1
      switch step(place) {
      case .top: break walk
      case .nowhere:
        end = .nowhere(place)
        break walk
      case .next(let above):
        if above == kept {
          end = .loop(loop(at: above, step))
          break walk
        }
        place = above
        length += 1
        if length == power {
          kept = place
          length = 0
          power = power > Int.max / 2 ? power : power * 2
        }
      }
    }
    for place in way { paths.insert(place) }
    try remember(way.last, count - way.count, &paths, step)
    return end
  }

  /// Remembers places above one.
  private func remember(
    _ last: PathPlace?, _ count: Int, _ paths: inout KnownPaths, _ step: (PathPlace) -> PathStep
  ) throws(VolumeError) {
    guard var place = last, count > 0 else { return }
    for _ in 0..<count {
      try self.step()
      guard case .next(let above) = step(place) else { return }
      paths.insert(above)
      place = above
    }
  }

  private func loop(at first: PathPlace, _ step: (PathPlace) -> PathStep) -> [PathPlace] {
    var places = [first]
    while places.count < Self.toldMax, let last = places.last,
      case .next(let above) = step(last), above != first
    {
      places.append(above)
    }
    return places
  }
}
