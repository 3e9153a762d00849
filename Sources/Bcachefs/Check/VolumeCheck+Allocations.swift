// SPDX-License-Identifier: GPL-2.0
// Buckets and counters: what all pointers say is added up, and compared with alloc and accounting.
//
// How it works
//   1. For a range of buckets: the generations of their keys are read; superblocks, journals,
//      btree nodes, stripes and extents are put into the table; then each bucket's key is compared.
//   2. Counters are added up in the first round. Those of files come one file after the other, as
//      extents do, and are compared at once; all others are kept.
// Invariants
//   (1) A pointer is judged in the round of its bucket, one without a bucket in the first.
// Source: btree_gc.c (bch2_check_allocations), buckets.c (bch2_check_fix_ptr), disk_accounting.c
// (bch2_gc_accounting_done).

internal import BcachefsFormat
internal import BcachefsSupport

/// Counters that are being added up.
struct CounterSums {
  private(set) var sums: [AccountingKey: [Int64]] = [:]

  mutating func add(_ key: AccountingKey, _ deltas: [Int64]) {
    sums[key, default: []].addCounters(deltas)
  }
}

extension VolumeCheck {
  func checkAllocations() throws(VolumeError) {
    let total = BucketTable.bucketCount(media.members)
    let atOnce = UInt64(max(options.memoryBytes / MemoryLayout<BucketTally>.stride, 16))
    var sums = CounterSums()
    var start: UInt64 = 0
    repeat {
      var round = AllocationRound(
        self, BucketTable(media.members, start..<min(start + atOnce, total)), isFirst: start == 0)
      try round.run(&sums)
      start += atOnce
    } while start < total
    try compareCounters(sums)
  }

  private func compareCounters(_ sums: CounterSums) throws(VolumeError) {
    var found: [AccountingKey: [Int64]] = [:]
    for count in try volume.accounting(skipsDamage: true) { found[count.key] = count.counters }
    let keys = Set(found.keys).union(sums.sums.keys).filter { key in
      // accounting_read told of devices that are missing.
      if case .inode = key { false } else { missingDevice(of: key) == nil || found[key] == nil }
    }
    for key in keys.sorted(by: { $0.position < $1.position }) {
      expect(key, found[key] ?? [], sums.sums[key] ?? [])
    }
  }

  /// Whether a member says that there may be a btree node.
  fileprivate func isBTreeMarked(
    _ place: ExtentPtr, sectors: Int, _ members: [Member]
  ) -> Bool {
    guard members.indices.contains(Int(place.device)) else { return true }
    let (end, overflow) = place.offset.addingReportingOverflow(UInt64(sectors))
    return !overflow && members[Int(place.device)].isBTreeMarked(place.offset..<end)
  }

  /// Keys are numbered; what comes has a higher number than what was.
  fileprivate func compareVersion(of found: KeyReference) {
    guard found.key.version.lo > keyVersion else { return }
    report(
      .bkey_version_in_future,
      "key version number higher than recorded \(keyVersion)\n  \(text(found))")
    keyVersion = found.key.version.lo
  }

  /// Compares counters; those that are missing are zero.
  func expect(_ key: AccountingKey, _ found: [Int64], _ expected: [Int64]) {
    let count = max(found.count, expected.count)
    let (a, b) = (found.padded(to: count), expected.padded(to: count))
    guard a != b else { return }
    func text(_ counters: [Int64]) -> String { counters.map { " \($0)" }.joined() }
    report(
      .accounting_mismatch, "accounting mismatch for \(key): got\(text(a)) should be\(text(b))")
  }
}

extension [Int64] {
  fileprivate func padded(to count: Int) -> [Int64] {
    self + Array(repeating: 0, count: Swift.max(0, count - self.count))
  }
}

/// One range of buckets.
private struct AllocationRound {
  private let check: VolumeCheck
  private var table: BucketTable
  private let isFirst: Bool
  private let stripes: BTreeCursor
  private let members: [Member]

  init(_ check: VolumeCheck, _ table: BucketTable, isFirst: Bool) {
    self.check = check
    self.table = table
    self.isFirst = isFirst
    stripes = BTreeCursor(check.forest, .stripes)
    members = check.volume.superblock.members
  }

  mutating func run(_ sums: inout CounterSums) throws(VolumeError) {
    try readGenerations()
    try markSuperblocks()
    try check.forEachNode { (pointer, btree, level) throws(VolumeError) in
      markNode(pointer, btree, level, &sums)
    }
    try check.forEachKey(of: .stripes) { (found) throws(VolumeError) in
      markStripe(found, &sums)
    }
    for btree in [BTreeID.extents, .reflink] {
      var file = FileCounters(check)
      try check.forEachKey(of: btree) { (found) throws(VolumeError) in
        try markExtent(found, btree, &sums, &file)
      }
      if isFirst {
        try file.finish()
        try file.expectNoOthers(in: btree)
      }
    }
    if isFirst {
      try check.forEachKey(of: .inodes) { (found) throws(VolumeError) in
        check.compareVersion(of: found)
        switch found.key.type {
        case .inode, .inodeV2, .inodeV3: sums.add(.nrInodes, [1])
        default: break
        }
      }
    }
    try compareBuckets(&sums)
  }

  private mutating func readGenerations() throws(VolumeError) {
    for device in check.media.members.indices {
      let buckets = table.buckets(of: device)
      guard !buckets.isEmpty else { continue }
      let cursor = BTreeCursor(check.forest, .alloc)
      cursor.seek(BPos(UInt64(device), buckets.lowerBound))
      while let found = cursor.nextReadable(),
        found.key.position < BPos(UInt64(device), buckets.upperBound)
      {
        try check.step()
        guard let alloc = check.alloc(found) else { continue }
        table[found.key.position].generation = alloc.generation
        table[found.key.position].hasKey = true
      }
    }
  }

  // MARK: - Superblocks and journals

  private mutating func markSuperblocks() throws(VolumeError) {
    for (index, device) in check.media.devices.enumerated() {
      guard let device, let own = UInt8(exactly: index),
        let member = check.media.member(own), member.bucketSizeSectors > 0
      else { continue }
      let layout = try JournalMap.ownSuperblock(of: own, on: device, in: check.media).layout
      let copies = ReservedBuckets.superblockSectors(layout, copies: layout.copySectors)
      for sectors in copies { markSectors(sectors, .sb, own, member) }
      for range in try JournalMap(of: own, on: device, in: check.media).ranges {
        for bucket in range.start..<range.start + range.count {
          let start = bucket * member.bucketSizeSectors
          markSectors(start..<start + member.bucketSizeSectors, .journal, own, member)
        }
      }
    }
  }

  private mutating func markSectors(
    _ sectors: Range<UInt64>, _ type: DataType, _ device: UInt8, _ member: MemberInfo
  ) {
    let parts = ReservedBuckets.buckets(
      of: sectors, bucketSectors: member.bucketSizeSectors, limit: member.bucketCount)
    for part in parts {
      let bucket = Positions.bucket(device: device, bucket: part.bucket)
      guard table.contains(bucket) else { continue }
      table[bucket].dataType = type.rawValue
      table[bucket].dirtySectors &+= part.sectors
    }
  }

  // MARK: - Nodes

  private mutating func markNode(
    _ pointer: KeyReference, _ btree: BTreeID, _ level: Int, _ sums: inout CounterSums
  ) {
    let sectors = check.forest.nodes.decoder.nodeBytes / 512
    guard let (_, places) = try? check.forest.nodes.interpret(pointer, btree, level) else {
      return
    }
    for place in places { _ = mark(place, sectors, .btree, .dirty, pointer) }
    guard isFirst else { return }
    if !places.allSatisfy({ check.isBTreeMarked($0, sectors: sectors, members) }) {
      check.report(
        .btree_bitmap_not_marked,
        "btree ptr not marked in member info btree allocated bitmap\n  \(check.text(pointer))")
    }
    let total = Int64(sectors) * Int64(places.count)
    sums.add(
      .replicas(
        AccountingReplicas(
          dataType: DataType.btree.rawValue, required: 1, devices: places.map(\.device))),
      [total])
    sums.add(.btree(id: UInt32(btree.rawValue)), [total])
  }

  // MARK: - Stripes

  private mutating func markStripe(_ found: KeyReference, _ sums: inout CounterSums) {
    guard found.key.type == .stripe,
      let stripe = found.withValue({ try? StripeBlocks(decoding: $0) })
    else { return }
    if isFirst {
      sums.add(
        stripe.replicas(.parity), [Int64(stripe.sectors) * Int64(stripe.redundantCount)])
    }
    for (block, place) in stripe.places.enumerated() {
      let isParity = block >= stripe.dataCount
      guard
        mark(
          place, isParity ? Int(stripe.sectors) : 0, isParity ? .parity : .stripe, .dirty, found),
        let bucket = check.bucket(of: place)
      else { continue }
      table[bucket].stripe = UInt32(truncatingIfNeeded: found.key.position.offset)
      table[bucket].stripeRedundancy = UInt8(truncatingIfNeeded: stripe.redundantCount)
      table[bucket].dataType = (isParity ? DataType.parity : .stripe).rawValue
    }
  }

  // MARK: - Extents

  private mutating func markExtent(
    _ found: KeyReference, _ btree: BTreeID, _ sums: inout CounterSums,
    _ file: inout FileCounters
  ) throws(VolumeError) {
    let key = found.key
    if isFirst { check.compareVersion(of: found) }
    switch key.type {
    case .reservation where isFirst:
      let replicas = found.withValue { (try? Reservation(decoding: $0))?.replicas ?? 0 }
      sums.add(.persistentReserved(replicas: replicas), [Int64(key.size)])
      return
    case .extent, .reflinkV: break
    default: return
    }
    var pointers: [DecodedPtr] = []
    var toRebalance: Int64 = 0
    // What is none was told of by check_topology.
    try? check.media.withEntries(of: found) { entries in
      var walk = entries.pointers
      while let pointer = walk.next() { pointers.append(pointer) }
      if let wish = entries.rebalance {
        toRebalance = check.targets.sectorsToRebalance(entries, wish)
      }
    }
    var extent = ExtentSums()
    for pointer in pointers {
      guard let sectors = pointer.diskSectors(of: key) else { continue }
      let isStriped = pointer.stripe != nil && !pointer.ptr.isCached
      _ = mark(
        pointer.ptr, Int(sectors), isStriped ? .stripe : .user,
        isStriped ? .striped : pointer.ptr.isCached ? .cached : .dirty, found)
      guard isFirst, !isStale(pointer.ptr) else { continue }
      extent.add(pointer, sectors)
      if isStriped, let stripe = pointer.stripe { try count(stripe, sectors, &sums) }
    }
    guard isFirst else { return }
    if toRebalance != 0 { sums.add(.rebalanceWork, [toRebalance]) }
    var own: [Int64] = []
    extent.forEachCount(of: key, sign: 1) { counter, deltas in
      if case .inode = counter { own = deltas } else { sums.add(counter, deltas) }
    }
    try file.add(own, ofFile: key.position.inode)
  }

  /// Whether a pointer leads to what is not there any more.
  private func isStale(_ place: ExtentPtr) -> Bool {
    guard let bucket = check.bucket(of: place) else { return false }
    let generation =
      table.contains(bucket) ? table[bucket].generation : check.generation(of: bucket)
    return Self.isStale(place, ahead: Int8(bitPattern: place.generation &- generation))
  }

  /// The same of a pointer whose generation is so much ahead of its bucket's.
  private static func isStale(_ place: ExtentPtr, ahead: Int8) -> Bool {
    place.isCached ? ahead != 0 : ahead < 0
  }

  private func count(
    _ pointer: ExtentStripePtr, _ sectors: Int64, _ sums: inout CounterSums
  ) throws(VolumeError) {
    guard let found = try? stripes.lookup(BPos(0, pointer.stripe)), found.key.type == .stripe,
      let stripe = found.withValue({ try? StripeBlocks(decoding: $0) })
    else { return }
    sums.add(stripe.replicas(.user), [sectors])
  }

  // MARK: - Buckets

  private enum Kind { case dirty, cached, striped }

  /// Puts a pointer's sectors into the table.
  ///
  /// - Returns: Whether its bucket is in the table.
  private mutating func mark(
    _ place: ExtentPtr, _ sectors: Int, _ type: DataType, _ kind: Kind, _ found: KeyReference
  ) -> Bool {
    guard let bucket = check.bucket(of: place) else {
      if isFirst, place.device != Member.invalidDevice {
        let isMember = check.media.member(place.device) != nil
        check.report(
          .ptr_to_invalid_device,
          "pointer to \(isMember ? "invalid bucket on" : "missing") device \(place.device)\n"
            + "while marking \(check.text(found))")
      }
      return false
    }
    guard table.contains(bucket) else { return false }
    var tally = table[bucket]
    let name = "bucket \(bucket.inode):\(bucket.offset)"
    let said: DataType = type == .btree ? .btree : place.isCached ? .cached : .user
    let kindText = "data type \(said)"
    func report(_ id: FsckErrorID, _ text: String) {
      check.report(id, "\(name) \(text)\nwhile marking \(check.text(found))")
    }
    let ahead = Int8(bitPattern: place.generation &- tally.generation)
    if !tally.hasKey {
      report(
        .ptr_to_missing_alloc_key,
        "\(kindText) ptr gen \(place.generation) missing in alloc btree")
    } else if ahead > 0 {
      report(
        .ptr_gen_newer_than_bucket_gen,
        "\(kindText) ptr gen in the future: \(place.generation) > \(tally.generation)")
    } else if -Int(ahead) > Int(AllocV4.maxGenerationLag) {
      report(
        .ptr_gen_newer_than_bucket_gen,
        "gen \(tally.generation) \(kindText): ptr gen \(place.generation) too stale")
    } else if ahead < 0, !place.isCached {
      report(
        .stale_dirty_ptr, "\(kindText) stale dirty ptr: \(place.generation) < \(tally.generation)")
    }
    // What is not there any more takes no room.
    if type != .btree, Self.isStale(place, ahead: ahead) { return true }
    if tally.dataType != 0, !DataType(rawValue: tally.dataType).sharesBuckets(with: type) {
      report(
        .ptr_bucket_data_type_mismatch,
        "gen \(tally.generation) different types of data in same bucket: "
          + "\(DataType(rawValue: tally.dataType)), \(type)")
    } else if tally.dataType == 0 {
      tally.dataType = type.rawValue
    }
    switch kind {
    case .dirty: tally.dirtySectors &+= UInt32(truncatingIfNeeded: sectors)
    case .cached: tally.cachedSectors &+= UInt32(truncatingIfNeeded: sectors)
    case .striped: tally.stripeSectors &+= UInt32(truncatingIfNeeded: sectors)
    }
    table[bucket] = tally
    return true
  }

  private func compareBuckets(_ sums: inout CounterSums) throws(VolumeError) {
    for (device, member) in check.media.members.enumerated() {
      let buckets = table.buckets(of: device)
      guard !buckets.isEmpty else { continue }
      // Where its superblocks and its journal are, only the device itself says.
      let isThere = check.media.devices[device] != nil
      var counters = [[Int64]](repeating: [0, 0, 0], count: 256)
      let cursor = BTreeCursor(check.forest, .alloc)
      cursor.seek(BPos(UInt64(device), buckets.lowerBound))
      var next = cursor.nextReadable()
      for number in buckets {
        try check.step()
        let bucket = BPos(UInt64(device), number)
        while let found = next, found.key.position < bucket { next = cursor.nextReadable() }
        let own = next.flatMap { $0.key.position == bucket ? $0 : nil }
        let key = own.flatMap(check.alloc) ?? AllocV4()
        let expected = compare(key, table[bucket], bucket, isThere: isThere)
        guard number >= member.firstBucket else { continue }
        expected.add(to: &counters, bucketSizeSectors: UInt32(member.bucketSizeSectors))
      }
      for (type, sum) in counters.enumerated() where sum != [0, 0, 0] {
        sums.add(
          .deviceDataType(device: UInt8(truncatingIfNeeded: device), dataType: UInt8(type)), sum)
      }
    }
  }

  /// Compares a bucket's key with what points into it.
  ///
  /// - Returns: What the key should be.
  private func compare(
    _ key: AllocV4, _ tally: BucketTally, _ bucket: BPos, isThere: Bool
  ) -> AllocV4 {
    let ownType = DataType(rawValue: key.dataType)
    if !isThere, ownType == .sb || ownType == .journal { return key }
    var expected = key
    expected.dirtySectors = tally.dirtySectors
    expected.cachedSectors = tally.cachedSectors
    expected.stripeSectors = tally.stripeSectors
    expected.stripe = tally.stripe
    expected.stripeRedundancy = tally.stripeRedundancy
    expected.dataType = expected.derivedDataType(tally.dataType)
    let name = "bucket \(bucket.inode):\(bucket.offset) gen \(key.generation)"
    let type = DataType(rawValue: expected.dataType)
    if key.dataType != expected.dataType {
      check.report(
        .alloc_key_data_type_wrong,
        "\(name) has wrong data_type: got \(ownType), should be \(type)")
    }
    func compare(
      _ id: FsckErrorID, _ field: String, _ value: KeyPath<AllocV4, UInt32>
    ) {
      guard key[keyPath: value] != expected[keyPath: value] else { return }
      check.report(
        id,
        "\(name) data type \(type) has wrong \(field): got \(key[keyPath: value]), should be "
          + "\(expected[keyPath: value])")
    }
    compare(.alloc_key_dirty_sectors_wrong, "dirty_sectors", \.dirtySectors)
    compare(.alloc_key_stripe_sectors_wrong, "stripe_sectors", \.stripeSectors)
    compare(.alloc_key_cached_sectors_wrong, "cached_sectors", \.cachedSectors)
    compare(.alloc_key_stripe_wrong, "stripe", \.stripe)
    if key.stripeRedundancy != expected.stripeRedundancy {
      check.report(
        .alloc_key_stripe_redundancy_wrong,
        "\(name) data type \(type) has wrong stripe_redundancy: got \(key.stripeRedundancy), "
          + "should be \(expected.stripeRedundancy)")
    }
    return expected
  }
}

extension AllocV4 {
  /// Adds a bucket to its device's counters by type: buckets, sectors, fragmented sectors.
  fileprivate func add(to counters: inout [[Int64]], bucketSizeSectors size: UInt32) {
    counters[Int(dataType)][0] += 1
    counters[Int(dataType)][1] += Int64(countedSectors)
    counters[Int(dataType)][2] += fragmentedSectors(size)
    guard unstripedSectors != 0 else { return }
    counters[Int(DataType.unstriped.rawValue)][0] += 1
    counters[Int(DataType.unstriped.rawValue)][1] += unstripedSectors
  }
}
