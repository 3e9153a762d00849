// SPDX-License-Identifier: GPL-2.0
// Lookups and scans in one btree, beside LMDB with the same keys and values: one thread, everything
// in memory, in turns.
//
// How it works
//   1. Files without contents become an image: as many inodes, in a btree of two levels or three.
//   2. The same keys (20 bytes, so that bytes sort as positions do) and values go to LMDB.
//   3. Both look all keys up in the same random order, and walk through all of them. Before the
//      first round everything was read once. Allocations are counted by the allocator itself.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CReference

#if canImport(Glibc)
internal import Glibc
#endif

struct LookupBench {
  private let options: BenchOptions
  private let folder = Program.scratchFolder

  init(_ options: BenchOptions) { self.options = options }

  func run() {
    Program.requireRelease()
    defer { Program.remove(folder) }
    let image = "\(folder)/inodes.img"
    createFiles("\(folder)/tree")
    guard
      Program.run([
        Program.bcachefs, "image", "create", "--quiet", "--source=\(folder)/tree", image,
      ])
        != nil
    else { return print("the image could not be built") }
    Program.remove("\(folder)/tree")
    do throws(VolumeError) {
      try measure(try Volume.open(VolumeSources(paths: [image])))
    } catch {
      print("lookups failed: \(error)")
    }
  }

  private func createFiles(_ tree: String) {
    _ = unsafe mkdir(folder, 0o755)
    _ = unsafe mkdir(tree, 0o755)
    for index in 0..<options.keyCount {
      let directory = "\(tree)/\(index / 1000)"
      if index % 1000 == 0 { _ = unsafe mkdir(directory, 0o755) }
      _ = unsafe mknod("\(directory)/\(index)", S_IFREG | 0o644, 0)
    }
  }

  // MARK: - Measuring

  private func measure(_ volume: Volume) throws(VolumeError) {
    let cursor = volume.keyCursor(of: .inodes)
    let folder = self.folder + "/lmdb"
    _ = unsafe mkdir(folder, 0o755)
    guard let store = unsafe key_store_open(folder, 8 << 30) else { return print("no LMDB") }
    defer { unsafe key_store_close(store) }
    var places: [BPos] = []
    while try cursor.next({ (key, value) in
      places.append(key.position)
      _ = unsafe value.withUnsafeBytes { value in
        unsafe key_store_put(store, Self.bytes(key.position), value.baseAddress, value.count)
      }
    }) {}
    _ = unsafe key_store_commit(store)
    let level = volume.rootLevel(of: .inodes) ?? 0
    print("\(places.count) keys, root at level \(level); nanoseconds a key, median of runs")
    Comparison.printHead()
    var random = Xoshiro256(seed: 3)
    places.shuffle(using: &random)
    let keys = places.map(Self.bytes)
    var (lookup, scan) = (Series(), Series())
    for _ in 0...options.runs {
      lookup.add(
        here: try time { () throws(VolumeError) in try Self.lookUp(places, cursor) },
        there: try time { () throws(VolumeError) in
          keys.reduce(0) { sum, key in unsafe sum &+ key_store_get(store, key) }
        })
      scan.add(
        here: try time { () throws(VolumeError) in try Self.scan(cursor) },
        there: try time { () throws(VolumeError) in unsafe key_store_scan(store) })
    }
    lookup.report("lookup, random", places.count)
    scan.report("scan", places.count)
  }

  /// One side's or the other's measurements; the first is only to warm up.
  private struct Series {
    var here: [Sample] = []
    var there: [Sample] = []

    mutating func add(here: Sample, there: Sample) {
      self.here.append(here)
      self.there.append(there)
    }

    func report(_ name: String, _ keyCount: Int) {
      let (here, there) = (self.here.dropFirst(), self.there.dropFirst())
      if zip(here, there).contains(where: { $0.sum != $1.sum }) {
        print("\(name): the two do not agree on what is stored")
        return
      }
      func nanoseconds(_ samples: ArraySlice<Sample>) -> String {
        Comparison.fixed(Comparison.median(samples.map(\.nanoseconds)) / Double(keyCount))
      }
      let ratios = zip(here, there).map { $1.nanoseconds / $0.nanoseconds }
      print(
        Comparison.row(
          name, nanoseconds(here), nanoseconds(there), Comparison.fixed(Comparison.median(ratios)))
          + "  allocations: \(here.map(\.allocations).max() ?? 0)")
    }
  }

  private struct Sample {
    let nanoseconds: Double
    let allocations: UInt64
    let sum: UInt64
  }

  private func time(_ body: () throws(VolumeError) -> UInt64) throws(VolumeError) -> Sample {
    let allocations = allocation_count()
    let start = Clocks.system.monotonicNanoseconds()
    let sum = try body()
    let end = Clocks.system.monotonicNanoseconds()
    return Sample(
      nanoseconds: Double(max(1, end - start)), allocations: allocation_count() - allocations,
      sum: sum)
  }

  private static func lookUp(
    _ places: [BPos], _ cursor: KeyCursor
  ) throws(VolumeError) -> UInt64 {
    var sum: UInt64 = 0
    for place in places {
      _ = try cursor.lookup(place) { (_, value) in sum &+= value[LEField<UInt64>(0)] }
    }
    return sum
  }

  private static func scan(_ cursor: KeyCursor) throws(VolumeError) -> UInt64 {
    var sum: UInt64 = 0
    cursor.seek(.min)
    while try cursor.next({ (_, value) in sum &+= value[LEField<UInt64>(0)] }) {}
    return sum
  }

  /// A position as bytes that sort as it does.
  private static func bytes(_ position: BPos) -> [UInt8] {
    func big(_ value: UInt64, _ count: Int) -> [UInt8] {
      (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - $0))) }
    }
    return big(position.inode, 8) + big(position.offset, 8) + big(UInt64(position.snapshot), 4)
  }
}
