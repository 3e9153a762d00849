// SPDX-License-Identifier: GPL-2.0
// The superblock of one device: found among its copies, wherever one of them survives.
//
// How it works
//   1. The copy in sector 8 (or where the option `sb` says) is tried first. If it is valid it names
//      the others; if not, the layout that stands alone in sector 7 does.
//   2. All copies that are named are read. The newest valid one counts, of equals the first.
//   3. If there is none, the head and the tail of the device are searched, sector by sector, for
//      what looks like a superblock and says of itself that it stands there.
// Invariants
//   (1) Nothing is written. At most 61 copies are read, and `searchedHead + searchedTail` bytes;
//       what is found there may have `candidateBytes` together, as a device can be full of
//       beginnings.
//   (2) A copy counts only in the sector that it names: an image file within the volume's data is
//       no superblock of this device.
//   (3) Copies of another volume, or of another member, are left out and named.
// Source: `bch2_read_super`, super-io.c; the sector is checked by newer kernels only.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A device with the newest valid superblock on it.
struct DeviceSuperblock: Sendable {
  let device: BlockDevice
  let superblock: Superblock
  /// What is wrong with the other copies, a line each.
  let warnings: [String]
}

/// The copies of a device's superblock, each with what was found in its place.
struct SuperblockCopies {
  /// Bytes that are searched from the start: room for two copies of up to 2 MiB.
  static let searchedHead: UInt64 = 6 << 20
  /// Bytes that are searched before the end: a copy of up to 2 MiB in buckets of up to 16 MiB.
  static let searchedTail: UInt64 = 20 << 20

  /// Bytes of what looks like a superblock that a search reads.
  static let candidateBytes = 256 << 20

  /// What stands in a place.
  enum State {
    case valid(Superblock)
    /// Its checksum is right, its contents are not.
    case doubtful(Superblock, FormatError)
    case bad(SuperblockProblem)

    /// Why it cannot be used.
    var problem: SuperblockProblem? {
      switch self {
      case .valid: nil
      case .doubtful(_, let error): .format(error)
      case .bad(let problem): problem
      }
    }

    /// Why it cannot be read though it may be good: a version or feature that is not known.
    var unsupported: FormatError? {
      switch self {
      case .valid: return nil
      case .doubtful(let superblock, _):
        do throws(FormatError) {
          try FormatSupport.checkReadable(superblock)
          return nil
        } catch {
          return error
        }
      case .bad(.format(let error)): return error.reason == .unsupported ? error : nil
      case .bad: return nil
      }
    }
  }

  /// One place where a copy should be, or was found.
  struct Copy {
    let sector: UInt64
    let place: FoundSuperblock.Place
    let state: State
  }

  private let device: BlockDevice
  /// The first copy, then the others as they were named.
  private(set) var copies: [Copy] = []
  private var warnings: [String] = []
  private var candidateBytesLeft = candidateBytes

  init(_ device: BlockDevice) { self.device = device }

  /// The newest valid superblock of a device.
  ///
  /// - Parameters:
  ///   - firstSector: Where the first copy is looked for.
  ///   - searching: Whether to look elsewhere if no copy is where it should be.
  /// - Throws: `.notAVolume`, `.unsupported` (all that is there is of a version that cannot be
  ///   read).
  static func read(
    _ device: BlockDevice, firstSector: UInt64 = SuperblockLayout.defaultSuperblockSector,
    searching: Bool
  ) throws(VolumeError) -> DeviceSuperblock {
    var reader = SuperblockCopies(device)
    reader.readNamedCopies(first: firstSector)
    if reader.newest == nil && searching && !reader.hasUnsupported { reader.search() }
    reader.leaveOutForeignCopies()
    guard let (copy, superblock) = reader.newest else {
      throw reader.failure(describing: searching)
    }
    reader.warnAboutBadCopies(using: copy.sector)
    return DeviceSuperblock(device: device, superblock: superblock, warnings: reader.warnings)
  }

  // MARK: Copies

  private var valid: [Superblock?] {
    copies.map { if case .valid(let superblock) = $0.state { superblock } else { nil } }
  }
  /// The newest valid copy, of equals the first.
  var newest: (copy: Copy, superblock: Superblock)? {
    let valid = valid
    guard let index = Superblock.newestIndex(of: valid), let superblock = valid[index] else {
      return nil
    }
    return (copies[index], superblock)
  }
  private var hasUnsupported: Bool { copies.contains { $0.state.unsupported != nil } }

  /// Reads the first copy, and those that it names, or the layout in sector 7 if it is bad.
  mutating func readNamedCopies(
    first: UInt64 = SuperblockLayout.defaultSuperblockSector
  ) {
    add(sector: first, .main)
    var layout: SuperblockLayout?
    if case .valid(let superblock) = copies[0].state {
      layout = superblock.layout
    } else {
      layout = layoutAlone()
    }
    for sector in layout?.copySectors ?? [] { add(sector: sector, .layout) }
  }

  private mutating func add(sector: UInt64, _ place: FoundSuperblock.Place) {
    guard !isKnown(sector) else { return }
    copies.append(Copy(sector: sector, place: place, state: state(ofSector: sector)))
  }

  /// What stands in a sector.
  func state(ofSector sector: UInt64) -> State {
    let (start, overflow) = sector.multipliedReportingOverflow(by: 512)
    let headBytes = UInt64(Superblock.Layout.byteCount)
    guard !overflow, start < device.byteCount, device.byteCount - start >= headBytes else {
      return .bad(
        .format(
          FormatError(
            .truncated, "bch_sb", "device size in sectors", found: device.byteCount / 512,
            expected: sector)))
    }
    do throws(DeviceError) {
      let head = try bytes(at: start, count: Int(min(4096, device.byteCount - start)))
      // What is too short for its own size is found so when it is decoded.
      let count = (try? Superblock.byteCount(ofHeader: head.rawBytes)) ?? 0
      guard count > head.count, UInt64(count) <= device.byteCount - start else {
        return Self.state(of: head, sector: sector)
      }
      return Self.state(of: try bytes(at: start, count: count), sector: sector)
    } catch {
      return .bad(.device(error))
    }
  }

  private static func state(of whole: [UInt8], sector: UInt64) -> State {
    let superblock: Superblock
    do throws(FormatError) {
      superblock = try Superblock(decoding: whole.rawBytes)
    } catch {
      return .bad(.format(error))
    }
    do throws(FormatError) {
      try superblock.validate()
      guard superblock.sector == sector else {
        throw FormatError(
          .inconsistent, "bch_sb", "offset", found: superblock.sector, expected: sector)
      }
      return .valid(superblock)
    } catch {
      return .doubtful(superblock, error)
    }
  }

  /// Any range of the device, by whole blocks.
  private func bytes(at offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
    let unit = UInt64(max(device.blockSizeBytes, 512))
    let start = offset / unit * unit
    let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
    guard !overflow, end <= device.byteCount else {
      throw DeviceError(
        .read, .outOfBounds(deviceBytes: device.byteCount), device: device.name,
        offsetBytes: offset, lengthBytes: UInt64(count))
    }
    let rounded = min((end - start + unit - 1) / unit * unit, device.byteCount - start)
    var buffer = AlignedBuffer(byteCount: Int(rounded))
    var span = buffer.mutableBytes
    try device.read(into: &span, atByte: start)
    var bytes = [UInt8](repeating: 0, count: count)
    var target = bytes.mutableRawBytes
    let first = Int(offset - start)
    target.copy(buffer.bytes.extracting(first..<first + count), to: 0)
    return bytes
  }

  private func layoutAlone() -> SuperblockLayout? {
    let size = SuperblockLayout.Layout.byteCount
    guard let bytes = try? bytes(at: SuperblockLayout.sector * 512, count: size),
      let layout = try? SuperblockLayout(decoding: bytes.rawBytes), (try? layout.validate()) != nil
    else { return nil }
    return layout
  }

  private mutating func leaveOutForeignCopies() {
    // The first valid copy, in the order in which they are named, says whose device this is.
    guard let reference = valid.compactMap({ $0 }).first else { return }
    copies = copies.filter { copy in
      guard case .valid(let superblock) = copy.state else { return true }
      if superblock.uuid == reference.uuid && superblock.deviceIndex == reference.deviceIndex {
        return true
      }
      warnings.append(
        "\(device.name): the superblock in sector \(copy.sector) belongs to member "
          + "\(superblock.deviceIndex) of volume \(superblock.userUUID), not to member "
          + "\(reference.deviceIndex) of \(reference.userUUID): it was left out")
      return false
    }
  }

  private mutating func warnAboutBadCopies(using sector: UInt64) {
    for copy in copies {
      guard let problem = copy.state.problem else { continue }
      warnings.append(
        "\(device.name): the superblock in sector \(copy.sector) is bad: \(problem); the copy in "
          + "sector \(sector) was used")
    }
  }

  private func failure(describing: Bool) -> VolumeError {
    for copy in copies {
      if let error = copy.state.unsupported {
        return VolumeError(.unsupported, "\(device.name): \(VolumeFormatText.describe(error))")
      }
    }
    var text = "\(device.name): no valid bcachefs superblock"
    for copy in copies {
      if let problem = copy.state.problem { text += "; sector \(copy.sector): \(problem)" }
    }
    guard describing else { return VolumeError(.notAVolume, text) }
    text += "; none was found near the start or the end of the device"
    if let found = try? device.existingSignatures(), let first = found.first {
      text += "; it holds a \(first)"
    }
    return VolumeError(.notAVolume, text)
  }

  // MARK: Search

  /// Looks for copies at either end of the device.
  mutating func search() {
    let total = device.byteCount
    let headEnd = min(Self.searchedHead, total)
    let tailStart = max(headEnd, (total - min(total, Self.searchedTail)) / 512 * 512)
    searchSectors(from: 0, to: headEnd)
    searchSectors(from: tailStart, to: total)
  }

  private mutating func searchSectors(from start: UInt64, to end: UInt64) {
    let chunk: UInt64 = 1 << 20
    var offset = start
    while offset < end {
      let count = Int(min(chunk, end - offset))
      // What the device cannot read holds no superblock that could be used.
      if let bytes = try? bytes(at: offset, count: count) { searchChunk(bytes, at: offset) }
      offset += chunk
    }
  }

  private mutating func searchChunk(_ bytes: [UInt8], at offset: UInt64) {
    let span = bytes.rawBytes
    var index = 0
    while index + 512 <= bytes.count && copies.count < 256 && candidateBytesLeft > 0 {
      let magic = UUID(decoding: span, at: index + Superblock.Layout.magic)
      if magic == SuperblockMagic.bcachefs || magic == SuperblockMagic.bcache {
        let sector = (offset + UInt64(index)) / 512
        candidateBytesLeft -= claimedBytes(span, at: index)
        // Damaged ones and those of images within the data are of no interest.
        if case .valid(let found) = state(ofSector: sector), !isKnown(sector) {
          copies.append(Copy(sector: sector, place: .search, state: .valid(found)))
          for other in found.layout.copySectors { add(sector: other, .search) }
        }
      }
      index += 512
    }
  }

  /// How much is read of what may be a superblock.
  private func claimedBytes(_ bytes: RawSpan, at index: Int) -> Int {
    let rest = bytes.extracting(index..<bytes.byteCount)
    return max((try? Superblock.byteCount(ofHeader: rest)) ?? 0, 4096)
  }

  private func isKnown(_ sector: UInt64) -> Bool { copies.contains { $0.sector == sector } }
}
