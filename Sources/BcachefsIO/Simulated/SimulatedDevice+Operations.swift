// SPDX-License-Identifier: GPL-2.0
// The operations of a simulated device on its state: which fault strikes, what it does.
//
// How it works
//   1. An operation is refused if the device is away or the range is not of whole blocks.
//   2. It is counted, the rules are asked for a fault, and it is written to the log with it.
//   3. What it does to the medium, fault included, becomes changes: applied at once, kept as
//      pending.
// Invariants
//   (1) The generator is asked in an order that only the operations and rules decide.
//   (2) A torn write leaves at least one of its sectors as it was.
//   (3) A misdirected write stays within the device, and does not land where it belongs.
// Locks: all under the device's mutex.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

extension SimulatedDevice.Change {
  /// Does to a medium what this change did. A write beyond a size that never grew is dropped.
  func apply(to contents: inout PageStore, byteCount: inout UInt64) {
    switch kind {
    case .write(let data):
      guard offset + UInt64(data.count) <= byteCount else { return }
      unsafe data.withUnsafeBytes { unsafe contents.write($0, at: offset) }
    case .clear(let length):
      guard offset < byteCount else { return }
      contents.clear(at: offset, byteCount: min(length, byteCount - offset))
    case .resize(let newByteCount):
      if newByteCount < byteCount {
        contents.clear(at: newByteCount, byteCount: byteCount - newByteCount)
      }
      byteCount = newByteCount
    }
  }
}

extension SimulatedDevice.State {
  typealias Configuration = SimulatedDevice.Configuration

  // MARK: - Operations

  mutating func read(
    _ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, blockSizeBytes: Int
  ) -> DeviceError.Reason? {
    let byteCount = UInt64(buffer.count)
    if isGone(offset, byteCount) { return .system(ENODEV) }
    guard Self.isAligned(offset, byteCount, blockSizeBytes) else {
      return .misaligned(bytes: blockSizeBytes)
    }
    let number = readCount
    readCount += 1
    let fault = strike(number, offset, byteCount) { $0 == .readError || $0 == .bitRot }
    if fault == .readError { return .system(EIO) }
    if fault == .bitRot, byteCount > 0 {
      let place = offset + generator.below(byteCount)
      let bit = UInt8(generator.below(8))
      // Rot is no change that a crash could undo: it is in the medium itself.
      current.flipBit(bit, at: place)
      durable.flipBit(bit, at: place)
    }
    unsafe current.read(buffer, at: offset)
    return nil
  }

  mutating func write(
    _ data: [UInt8], at offset: UInt64, _ configuration: Configuration
  ) -> DeviceError.Reason? {
    let byteCount = UInt64(data.count)
    if isGone(offset, byteCount) { return .system(ENODEV) }
    guard Self.isAligned(offset, byteCount, configuration.blockSizeBytes) else {
      return .misaligned(bytes: configuration.blockSizeBytes)
    }
    let number = writeCount
    writeCount += 1
    let fault = strike(number, offset, byteCount) { fault in
      switch fault {
      case .writeError, .tornWrite, .lostWrite, .misdirectedWrite: true
      case .readError, .flushError, .bitRot, .vanish: false
      }
    }
    let sequence = record(.write, offset, byteCount, fault, configuration)
    switch fault {
    case .writeError: return .system(EIO)
    case .lostWrite: break
    case .tornWrite(let tearing):
      for range in Self.torn(sectors: data.count / 512, tearing, &generator) {
        let bytes = Array(data[range.lowerBound * 512..<range.upperBound * 512])
        apply(bytes, at: offset + UInt64(range.lowerBound * 512), sequence)
      }
    case .misdirectedWrite:
      if let place = elsewhere(than: offset, byteCount, configuration.blockSizeBytes) {
        apply(data, at: place, sequence)
      }
    default: apply(data, at: offset, sequence)
    }
    return nil
  }

  mutating func flush(_ configuration: Configuration) -> DeviceError.Reason? {
    if isGone(0, 0) { return .system(ENODEV) }
    let number = flushCount
    flushCount += 1
    let fault = strike(number, 0, 0) { $0 == .flushError }
    let sequence = record(.flush, 0, 0, fault, configuration)
    if fault != nil { return .system(EIO) }
    if configuration.recordsContents {
      epochs.append(
        SimulatedDevice.Epoch(
          durable: durable, durableByteCount: durableByteCount, changes: pending,
          endSequence: sequence))
    }
    durable = current
    durableByteCount = byteCount
    pending.removeAll(keepingCapacity: true)
    return nil
  }

  mutating func discard(
    at offset: UInt64, byteCount: UInt64, _ configuration: Configuration
  ) -> DeviceError.Reason? {
    if isGone(offset, byteCount) { return .system(ENODEV) }
    guard Self.isAligned(offset, byteCount, configuration.blockSizeBytes) else {
      return .misaligned(bytes: configuration.blockSizeBytes)
    }
    switch configuration.discardResult {
    case .zeros: clear(.discard, at: offset, byteCount: byteCount, configuration)
    case .oldData: _ = record(.discard, offset, byteCount, nil, configuration)
    case .garbage:
      // A block of it at each end: enough to be noticed, cheap for any range.
      let sequence = record(.discard, offset, byteCount, nil, configuration)
      let unit = UInt64(configuration.blockSizeBytes)
      for place in Set([offset, offset + byteCount - unit]).sorted() {
        let garbage = (0..<unit / 8).flatMap { _ in
          unsafe withUnsafeBytes(of: generator.next().littleEndian) { unsafe [UInt8]($0) }
        }
        apply(garbage, at: place, sequence)
      }
    }
    return nil
  }

  mutating func clear(
    _ kind: SimulatedOperation.Kind, at offset: UInt64, byteCount: UInt64,
    _ configuration: Configuration
  ) {
    let sequence = record(kind, offset, byteCount, nil, configuration)
    let change = SimulatedDevice.Change(kind: .clear(byteCount), offset: offset, sequence: sequence)
    pending.append(change)
    change.apply(to: &current, byteCount: &self.byteCount)
  }

  private mutating func apply(_ data: [UInt8], at offset: UInt64, _ sequence: UInt64) {
    let change = SimulatedDevice.Change(kind: .write(data), offset: offset, sequence: sequence)
    pending.append(change)
    change.apply(to: &current, byteCount: &byteCount)
  }

  // MARK: - Faults

  /// Whether the device is away, or goes now. Counts operations of every kind.
  mutating func isGone(_ offset: UInt64, _ byteCount: UInt64) -> Bool {
    if hasVanished { return true }
    let number = readCount + writeCount + flushCount
    hasVanished = strike(number, offset, byteCount) { $0 == .vanish } != nil
    return hasVanished
  }

  /// The first rule of the kinds wanted whose conditions hold, if any; it is used up by one.
  private mutating func strike(
    _ number: UInt64, _ offset: UInt64, _ byteCount: UInt64,
    wanted: (SimulatedFault) -> Bool
  ) -> SimulatedFault? {
    for index in faults.indices {
      let rule = faults[index]
      guard wanted(rule.fault), rule.remaining > 0 else { continue }
      if let wantedNumber = rule.operationNumber, wantedNumber != number { continue }
      if let bytes = rule.bytes, !bytes.overlaps(offset..<offset + byteCount) { continue }
      guard rule.probability >= 1 || generator.chance(rule.probability) else { continue }
      faults[index].remaining -= 1
      return rule.fault
    }
    return nil
  }

  /// The ranges of sectors that a torn write of `sectors` leaves on the medium; never all.
  static func torn(
    sectors: Int, _ tearing: SimulatedTearing, _ generator: inout SplitMix64
  ) -> [Range<Int>] {
    guard sectors > 0 else { return [] }
    switch tearing {
    case .prefix:
      let count = Int(generator.below(UInt64(sectors)))
      return count == 0 ? [] : [0..<count]
    case .sectors:
      let missing = Int(generator.below(UInt64(sectors)))
      var ranges: [Range<Int>] = []
      for sector in 0..<sectors where sector != missing && generator.chance(0.5) {
        if let last = ranges.last, last.upperBound == sector {
          ranges[ranges.count - 1] = last.lowerBound..<sector + 1
        } else {
          ranges.append(sector..<sector + 1)
        }
      }
      return ranges
    }
  }

  /// Another block of the device where as many bytes fit; nil where there is none.
  private mutating func elsewhere(
    than offset: UInt64, _ length: UInt64, _ blockSizeBytes: Int
  ) -> UInt64? {
    let unit = UInt64(blockSizeBytes)
    let places = (byteCount - length) / unit + 1
    guard places > 1 else { return nil }
    let place = generator.below(places - 1)
    // Skips the right one, so that each of the others is as likely.
    return (place < offset / unit ? place : place + 1) * unit
  }

  private static func isAligned(
    _ offset: UInt64, _ byteCount: UInt64, _ blockSizeBytes: Int
  ) -> Bool {
    (offset | byteCount) & UInt64(blockSizeBytes - 1) == 0
  }

  /// Counts an operation, and writes it down if wanted.
  mutating func record(
    _ kind: SimulatedOperation.Kind, _ offset: UInt64, _ byteCount: UInt64,
    _ fault: SimulatedFault?, _ configuration: Configuration
  ) -> UInt64 {
    let sequence = nextSequence
    nextSequence += 1
    if configuration.recordsOperations {
      operations.append(
        SimulatedOperation(
          kind: kind, sequence: sequence, offsetBytes: offset, lengthBytes: byteCount, fault: fault)
      )
    }
    return sequence
  }
}
