// SPDX-License-Identifier: GPL-2.0
// Space and inodes, as the accounting btree counts them.
//
// Source: disk_accounting.c, buckets.c (__bch2_fs_usage_read_short), alloc_background.c
// (bch2_recalc_capacity), super.c (__bch2_dev_alloc).

public import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// One thing that is counted, and its counters (`AccountingKey` says which).
public struct AccountingCount: Sendable {
  /// What is counted.
  public let key: AccountingKey
  /// The counters that its kind has, at most three.
  public let counters: [Int64]
}

/// What the whole volume holds, as statfs(2) shows it.
public struct VolumeUsage: Sendable {
  /// Sectors that may be filled; what holds superblocks and journals is not among them.
  public let capacitySectors: UInt64
  /// Sectors in use.
  public let usedSectors: UInt64
  /// Files, directories and all else with an inode, in all snapshots.
  public let inodeCount: UInt64

  /// What is known of a volume; the used sectors are at most its capacity.
  public init(capacitySectors: UInt64, usedSectors: UInt64, inodeCount: UInt64 = 0) {
    self.capacitySectors = capacitySectors
    self.usedSectors = usedSectors
    self.inodeCount = inodeCount
  }
}

extension Volume {
  /// The devices' paths by member index, nil where a member is missing.
  public var deviceNames: [String?] { media.devices.map { $0?.name } }

  /// A member's path, nil where it is missing, and for an index that no member has.
  public func deviceName(_ index: UInt8) -> String? { media.device(index)?.name }

  /// All counters but those of single files, by their positions; as in the driver, none that is
  /// all zeros. Kinds of newer formats are left out.
  ///
  /// - Throws: what reading a node throws: `.allCopiesBad`, `.corrupt`, `.device`.
  /// - Complexity: one walk over the accounting btree, a few hundred keys on most volumes.
  public func accounting() throws(VolumeError) -> [AccountingCount] {
    try accounting(skipsDamage: false)
  }

  /// The same; or of what can be read, and then it never throws.
  func accounting(skipsDamage: Bool) throws(VolumeError) -> [AccountingCount] {
    var counters: [BPos: [Int64]] = [:]
    var versions: [BPos: BVersion] = [:]
    // Keys of the journal are deltas here, which add up: they are not laid over the btree's.
    let onDisk = BTreeForest(nodes: forest.nodes, roots: forest.roots, overlay: nil)
    let cursor = BTreeCursor(onDisk, .accounting)
    while let found = skipsDamage ? cursor.nextReadable() : try cursor.next() {
      guard found.key.type == .accounting, !isOfFile(found.key.position) else { continue }
      guard let own = try self.counters(of: found, skipsDamage) else { continue }
      counters[found.key.position] = own
      versions[found.key.position] = found.key.version
    }
    if let overlay = forest.overlay {
      for index in overlay.range(.accounting, 0) {
        let delta = overlay.reference(at: index)
        let position = delta.key.position
        guard delta.key.type == .accounting, !isOfFile(position),
          versions[position] ?? .zero < delta.key.version,
          let own = try self.counters(of: delta, skipsDamage)
        else { continue }
        counters[position, default: []].addCounters(own)
      }
    }
    let isByteSwapped = superblock.swapsAccountingPositions
    let counted = counters.filter { $0.value.contains { $0 != 0 } }
    return counted.sorted { $0.key < $1.key }.compactMap { position, values in
      AccountingKey(position, isByteSwapped: isByteSwapped).map {
        AccountingCount(key: $0, counters: values)
      }
    }
  }

  private func counters(
    of found: KeyReference, _ skipsDamage: Bool
  ) throws(VolumeError) -> [Int64]? {
    do throws(VolumeError) { return try found.counters() } catch {
      guard skipsDamage else { throw error }
      return nil
    }
  }

  /// There are as many of these as files: they would not fit the memory of a large volume.
  private func isOfFile(_ position: BPos) -> Bool {
    if case .inode = AccountingKey(position) { true } else { false }
  }

  /// Sectors of the members that take data, beyond the reserves (`c->capacity`).
  public var capacitySectors: UInt64 {
    let nodeSectors = UInt64(max(superblock[Superblock.Layout.btreeNodeSize], 1))
    var capacity: UInt64 = 0
    var reserved: UInt64 = 0
    for member in superblock.members where member.isAlive && member.state == .rw {
      // Both factors are bounded, so no product or sum overflows.
      let bucketSectors = UInt64(member.bucketSizeSectors)
      let buckets = min(member.bucketCount, Member.maxBucketCount)
      capacity += (buckets - min(UInt64(member.firstBucket), buckets)) * bucketSectors
      let btreeBuckets = Watermark.btreeReserve(nodesInBucket: bucketSectors / nodeSectors)
      // Copygc needs its share of the buckets; each of three write points has one open.
      reserved += 2 * (2 * btreeBuckets + buckets >> 6 + 3) * bucketSectors
    }
    let words = superblock.optionWords
    let bytes = words.value(of: .gcReserveBytes) ?? 0
    let percent = min(words.value(of: .gcReservePercent) ?? 0, 100)
    let wanted =
      bytes != 0 ? bytes / 512 : capacity / 100 * percent + capacity % 100 * percent / 100
    return capacity - min(max(wanted, reserved), capacity)
  }

  /// What statfs(2) shows.
  ///
  /// - Throws: as `accounting`.
  public func usage() throws(VolumeError) -> VolumeUsage { usage(try accounting()) }

  /// What statfs(2) shows, of counters that `accounting` gave.
  public func usage(_ counts: [AccountingCount]) -> VolumeUsage {
    let members = superblock.members
    var (data, reserved, hidden, inodes) = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
    for count in counts {
      let value = UInt64(clamping: count.counters.first ?? 0)
      switch count.key {
      case .nrInodes: inodes.add(value)
      case .persistentReserved(let replicas): reserved.add(value, times: UInt64(replicas))
      case .replicas(let entry):
        let type = DataType(rawValue: entry.dataType)
        if type == .btree || type == .user || type == .parity { data.add(value) }
      case .deviceDataType(let device, let type):
        guard DataType(rawValue: type).isHidden, members.indices.contains(Int(device)) else {
          continue
        }
        hidden.add(value, times: UInt64(members[Int(device)].bucketSizeSectors))
      default: break
      }
    }
    let capacity = capacitySectors - min(hidden, capacitySectors)
    // What is reserved needs a 64th more, for extents that are split.
    data.add(reserved)
    data.add(reserved / 64 + (reserved % 64 == 0 ? 0 : 1))
    return VolumeUsage(
      capacitySectors: capacity, usedSectors: min(data, capacity), inodeCount: inodes)
  }
}

extension UInt64 {
  /// Adds a product; counters of a damaged volume stop at the largest number.
  fileprivate mutating func add(_ value: UInt64, times factor: UInt64 = 1) {
    let (product, overflow) = value.multipliedReportingOverflow(by: factor)
    let (sum, carry) = addingReportingOverflow(product)
    self = overflow || carry ? .max : sum
  }
}

extension KeyReference {
  /// The counters of an accounting key.
  ///
  /// - Throws: what decoding throws.
  func counters() throws(VolumeError) -> [Int64] {
    try decoded { (value) throws(FormatError) in
      let counts = try Accounting(decoding: value)
      return (0..<min(counts.count, Accounting.maxCount)).map { counts[$0] }
    }
  }
}

extension [Int64] {
  /// Adds counters one by one; those that are missing are zero.
  mutating func addCounters(_ deltas: [Int64]) {
    for (index, delta) in deltas.enumerated() {
      if index == count { append(0) }
      self[index] &+= delta
    }
  }
}
