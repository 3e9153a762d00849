// SPDX-License-Identifier: GPL-2.0
// One device's places for superblocks, for whoever writes them: what stands in which of them, and
// reading and writing one.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// What a volume's superblock says: what all devices have, and what each has for itself.
struct SuperblockContents: Sendable, Equatable {
  /// Without sections that are a device's own; layout and device index mean nothing.
  var shared: Superblock
  /// By member: the sections of its own (its journal's buckets).
  var own: [Int: [SuperblockSection]]

  /// The superblock of one device.
  func superblock(of disk: SuperblockDisk) -> Superblock {
    var result = shared
    result.deviceIndex = UInt8(truncatingIfNeeded: disk.index)
    result.layout = disk.layout
    result.layout.magic = SuperblockMagic.bcachefs
    for section in own[disk.index] ?? [] { result.setSection(section) }
    return result
  }
}

/// The device of a member, with its copies of the superblock.
struct SuperblockDisk: Sendable {
  let device: BlockDevice
  /// Of the member.
  let index: Int
  let layout: SuperblockLayout
  /// The number of the newest superblock on it.
  private(set) var seq: UInt64
  /// As it was found, until all copies are known to be as new.
  private var found: Superblock?
  /// Places, by their order in the layout, that hold something else than `found`.
  private var badPlaces: [Int] = []
  /// It failed: nothing more is written to it while the volume is open.
  var isOut = false

  /// - Parameter found: The newest superblock on the device.
  init(_ found: DeviceSuperblock) {
    device = found.device
    index = Int(found.superblock.deviceIndex)
    layout = found.superblock.layout
    seq = found.superblock.seq
    self.found = found.superblock
    let copies = SuperblockCopies(device)
    for (place, sector) in layout.copySectors.enumerated() {
      guard case .valid(let copy) = copies.state(ofSector: sector),
        copy.uuid == found.superblock.uuid,
        copy.seq == seq, copy.deviceIndex == found.superblock.deviceIndex
      else {
        badPlaces.append(place)
        continue
      }
    }
  }

  /// Puts the newest superblock of this device where older ones or none are.
  ///
  /// The places that hold it already are not touched: it is safe at any moment.
  mutating func settle() throws(DeviceError) {
    guard let superblock = found else { return }
    for place in badPlaces {
      // What was read can be written.
      guard let bytes = try? superblock.encode(sector: sector(place)) else { continue }
      try write(bytes, place)
    }
    if !badPlaces.isEmpty { try device.flush() }
    badPlaces = []
    found = nil
  }

  /// How many copies there are.
  var copyCount: Int { layout.copySectors.count }

  private func sector(_ place: Int) -> UInt64 { layout.slots[place] }

  /// Where a place begins; it may be beyond any device.
  private func offset(
    _ place: Int, _ operation: DeviceError.Operation
  ) throws(DeviceError) -> UInt64 {
    let (offset, overflow) = sector(place).multipliedReportingOverflow(by: 512)
    guard !overflow else {
      throw DeviceError(
        operation, .outOfBounds(deviceBytes: device.byteCount), device: device.name)
    }
    return offset
  }

  /// The copies of a superblock, in the order of the layout.
  func encodedCopies(_ superblock: Superblock) throws(FormatError) -> [[UInt8]] {
    var copies: [[UInt8]] = []
    for sector in layout.copySectors { copies.append(try superblock.encode(sector: sector)) }
    return copies
  }

  /// Writes a copy, filled up to whole blocks. Durable after the next flush.
  func write(_ bytes: [UInt8], _ place: Int) throws(DeviceError) {
    let unit = max(device.blockSizeBytes, 512)
    var buffer = AlignedBuffer(byteCount: (bytes.count + unit - 1) / unit * unit)
    var span = buffer.mutableBytes
    span.copy(bytes.rawBytes, to: 0)
    try device.write(buffer.bytes, atByte: try offset(place, .write))
  }

  /// All copies are those of number `seq` now.
  mutating func wrote(_ seq: UInt64) { self.seq = seq }

  /// What stands in the first place: whose superblock, and its number.
  func readBack() throws(DeviceError) -> (uuid: UUID, seq: UInt64) {
    let unit = max(device.blockSizeBytes, 512)
    var buffer = AlignedBuffer(byteCount: (1024 + unit - 1) / unit * unit)
    var span = buffer.mutableBytes
    try device.read(into: &span, atByte: try offset(0, .read))
    return (
      UUID(decoding: buffer.bytes, at: Superblock.Layout.uuid),
      buffer.bytes[Superblock.Layout.seq]
    )
  }
}
