// SPDX-License-Identifier: GPL-2.0
// Counters of space and inodes: the position says what is counted, the value has the counts.
//
// How it works
//   A position is taken as 20 bytes (snapshot, offset, inode; little-endian): byte 0 is the kind,
//   the kind's fields follow packed, the rest is zero. So keys sort by their last bytes first.
//   Updates are deltas: only the sum of all keys at a position means anything; the version says
//   which journal entry a key came from and has already been added.
// Invariants
//   (1) A key that decodes encodes to the position it came from, if its spare bytes were zero.
// Source: bcachefs disk_accounting.c, disk_accounting_format.h.

/// The devices that data is replicated on (`struct bch_replicas_entry_v1`), at most 16.
@frozen
public struct AccountingReplicas: Hashable, Sendable, BitwiseCopyable {
  /// `enum bch_data_type`
  public var dataType: UInt8
  /// How many of the devices are needed to read; 0 or 1 for plain replicas.
  public var required: UInt8
  /// How many devices, at most 16.
  public internal(set) var count: UInt8
  var slots = SIMD16<UInt8>()

  /// - Parameter devices: At most 16 (more are cut off); sorted here, as the format wants it.
  public init(dataType: UInt8, required: UInt8, devices: [UInt8]) {
    self.dataType = dataType
    self.required = required
    count = UInt8(min(devices.count, 16))
    var index = 0
    for device in devices.prefix(16).sorted() {
      slots[index] = device
      index += 1
    }
  }

  /// The device at `index`, 0 ..< count.
  public subscript(index: Int) -> UInt8 {
    index >= 0 && index < Int(count) ? slots[index] : 0
  }

  /// All devices.
  public var devices: [UInt8] { (0..<Int(count)).map { slots[$0] } }
}

/// What an accounting key counts (`struct disk_accounting_pos`).
public enum AccountingKey: Hashable, Sendable {
  /// Inodes: 1 counter.
  case nrInodes
  /// Sectors reserved with so many replicas: 1 counter.
  case persistentReserved(replicas: UInt8)
  /// Sectors by where they are: 1 counter.
  case replicas(AccountingReplicas)
  /// Buckets, sectors, fragmented sectors of a device by data type: 3 counters.
  case deviceDataType(device: UInt8, dataType: UInt8)
  /// Extents, uncompressed sectors, compressed sectors by compression: 3 counters.
  case compression(type: UInt8)
  /// Sectors in a snapshot: 1 counter.
  case snapshot(id: UInt32)
  /// Sectors of a btree's nodes: 1 counter.
  case btree(id: UInt32)
  /// Sectors to be moved or recompressed: 1 counter.
  case rebalanceWork
  /// Extents and sectors of a file: 3 counters.
  case inode(number: UInt64)

  /// Decodes a position; nil for kinds of newer versions and more devices than fit.
  ///
  /// - Parameter isByteSwapped: Whether the position's twenty bytes stand in reverse order, the
  ///   kind in the highest of the inode, as from 1.15 on (`Superblock.swapsAccountingPositions`).
  public init?(_ position: BPos, isByteSwapped: Bool = false) {
    var bytes = PositionBytes(position)
    if isByteSwapped { bytes.reverse() }
    switch bytes[0] {
    case 0: self = .nrInodes
    case 1: self = .persistentReserved(replicas: bytes[1])
    case 2:
      var entry = AccountingReplicas(dataType: bytes[1], required: bytes[3], devices: [])
      guard bytes[2] <= 16 else { return nil }
      entry.count = bytes[2]
      for index in 0..<Int(bytes[2]) { entry.slots[index] = bytes[4 + index] }
      self = .replicas(entry)
    case 3: self = .deviceDataType(device: bytes[1], dataType: bytes[2])
    case 4: self = .compression(type: bytes[1])
    case 5: self = .snapshot(id: UInt32(truncatingIfNeeded: bytes.integer(at: 1, count: 4)))
    case 6: self = .btree(id: UInt32(truncatingIfNeeded: bytes.integer(at: 1, count: 4)))
    case 7: self = .rebalanceWork
    case 8: self = .inode(number: bytes.integer(at: 1, count: 8))
    default: return nil
    }
  }

  /// `enum disk_accounting_type`
  public var kind: UInt8 {
    switch self {
    case .nrInodes: 0
    case .persistentReserved: 1
    case .replicas: 2
    case .deviceDataType: 3
    case .compression: 4
    case .snapshot: 5
    case .btree: 6
    case .rebalanceWork: 7
    case .inode: 8
    }
  }

  /// The key's position (`disk_accounting_pos_to_bpos`).
  public var position: BPos {
    var bytes = PositionBytes()
    bytes[0] = kind
    switch self {
    case .nrInodes, .rebalanceWork: break
    case .persistentReserved(let replicas): bytes[1] = replicas
    case .replicas(let entry):
      bytes[1] = entry.dataType
      bytes[2] = entry.count
      bytes[3] = entry.required
      for index in 0..<Int(entry.count) { bytes[4 + index] = entry.slots[index] }
    case .deviceDataType(let device, let dataType):
      bytes[1] = device
      bytes[2] = dataType
    case .compression(let type): bytes[1] = type
    case .snapshot(let id), .btree(let id): bytes.set(UInt64(id), at: 1, count: 4)
    case .inode(let number): bytes.set(number, at: 1, count: 8)
    }
    return bytes.position
  }
}

extension AccountingKey: CustomStringConvertible {
  /// `dev_data_type dev=0 data_type=free` (`bch2_accounting_key_to_text`).
  public var description: String {
    switch self {
    case .nrInodes: "nr_inodes "
    case .persistentReserved(let replicas): "persistent_reserved replicas=\(replicas)"
    case .replicas(let entry):
      "replicas \(DataType(rawValue: entry.dataType)): \(entry.required)/\(entry.count) ["
        + entry.devices.map(String.init).joined(separator: " ") + "]"
    case .deviceDataType(let device, let type):
      "dev_data_type dev=\(device) data_type=\(DataType(rawValue: type))"
    case .compression(let type): "compression \(CompressionType(rawValue: type))"
    case .snapshot(let id): "snapshot id=\(id)"
    case .btree(let id): "btree btree=\(BTreeID(rawValue: UInt8(clamping: id)))"
    case .rebalanceWork: "rebalance_work "
    case .inode: "inum "
    }
  }
}

/// The 20 bytes of a position, byte 0 the lowest of the snapshot.
private struct PositionBytes {
  var bytes = SIMD32<UInt8>()

  init() {}

  init(_ position: BPos) {
    set(UInt64(position.snapshot), at: 0, count: 4)
    set(position.offset, at: 4, count: 8)
    set(position.inode, at: 12, count: 8)
  }

  var position: BPos {
    BPos(
      integer(at: 12, count: 8), integer(at: 4, count: 8),
      UInt32(truncatingIfNeeded: integer(at: 0, count: 4)))
  }

  mutating func reverse() {
    let old = bytes
    for index in 0..<20 { bytes[index] = old[19 - index] }
  }

  subscript(index: Int) -> UInt8 {
    get { bytes[index] }
    set { bytes[index] = newValue }
  }

  func integer(at start: Int, count: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<count { value |= UInt64(bytes[start + index]) << UInt64(8 * index) }
    return value
  }

  mutating func set(_ value: UInt64, at start: Int, count: Int) {
    for index in 0..<count {
      bytes[start + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
    }
  }
}

// MARK: - The value

/// The counters of an accounting key (`struct bch_accounting`).
public struct Accounting: ~Escapable {
  /// Eight bytes a counter.
  public let bytes: RawSpan

  /// The most counters that a kind has (`BCH_ACCOUNTING_MAX_COUNTERS`).
  @inlinable public static var maxCount: Int { 3 }

  /// - Throws: `.truncated` below one counter.
  @_lifetime(copy value)
  public init(decoding value: RawSpan) throws(FormatError) {
    guard value.byteCount >= 8 else { throw .tooSmall("bch_accounting", value.byteCount, 8) }
    bytes = value
  }

  /// How many counters there are.
  @inlinable public var count: Int { bytes.byteCount / 8 }

  /// A counter; 0 if there are fewer.
  @inlinable public subscript(index: Int) -> Int64 {
    guard index >= 0, index < count else { return 0 }
    return Int64(bitPattern: bytes[LEField<UInt64>(index &* 8)])
  }

  /// Encodes one counter.
  ///
  /// - Returns: Words of the value.
  public static func encode(_ counter: Int64, into value: inout MutableRawSpan) -> Int {
    value[LEField<UInt64>(0)] = UInt64(bitPattern: counter)
    return 1
  }

  /// Encodes three counters.
  ///
  /// - Returns: Words of the value.
  public static func encode(
    _ first: Int64, _ second: Int64, _ third: Int64, into value: inout MutableRawSpan
  ) -> Int {
    value[LEField<UInt64>(0)] = UInt64(bitPattern: first)
    value[LEField<UInt64>(8)] = UInt64(bitPattern: second)
    value[LEField<UInt64>(16)] = UInt64(bitPattern: third)
    return 3
  }

  /// `bch2_accounting_validate`: about the key alone.
  public static func validate(
    key: BKey, context: BKeyContext = .none
  ) throws(FormatError) {
    guard key.version != .zero else {
      throw FormatError(
        .invalid, "bch_accounting", "bversion", fsckError: .accounting_key_version_0)
    }
    // What follows is about the order of 1.13; newer drivers see to theirs.
    guard !context.swapsAccountingPositions else { return }
    let position = key.position
    let kind = UInt8(truncatingIfNeeded: position.snapshot)
    guard let decoded = AccountingKey(position) else {
      guard kind == 2 else { return }
      throw bad("nr_devs", UInt64(position.snapshot >> 16 & 0xff), .accounting_key_junk_at_end)
    }
    switch decoded {
    case .inode: return
    case .replicas(let entry): try validate(entry)
    default: break
    }
    guard decoded.position == position else {
      throw bad("pos", UInt64(kind), .accounting_key_junk_at_end)
    }
  }

  private static func validate(_ entry: AccountingReplicas) throws(FormatError) {
    guard entry.count > 0 else { throw bad("nr_devs", 0, .accounting_key_replicas_nr_devs_0) }
    guard entry.required <= entry.count, entry.required <= 1 || entry.required != entry.count
    else {
      throw bad("nr_required", UInt64(entry.required), .accounting_key_replicas_nr_required_bad)
    }
    for index in 1..<max(1, Int(entry.count)) where entry[index - 1] >= entry[index] {
      throw bad("devs", UInt64(entry[index]), .accounting_key_replicas_devs_unsorted)
    }
  }

  private static func bad(
    _ field: StaticString, _ found: UInt64, _ error: FsckErrorID
  ) -> FormatError {
    FormatError(.invalid, "disk_accounting_pos", field, found: found, fsckError: error)
  }

  /// `nr_inodes  499` (`bch2_accounting_to_text`).
  public func text(key: BKey, context: BKeyContext = .none) -> String {
    let isSwapped = context.swapsAccountingPositions
    let kind =
      isSwapped
      ? UInt8(key.position.inode >> 56) : UInt8(truncatingIfNeeded: key.position.snapshot)
    var text =
      AccountingKey(key.position, isByteSwapped: isSwapped)?.description ?? "unknown type \(kind)"
    for index in 0..<count { text += " \(self[index])" }
    return text
  }
}
