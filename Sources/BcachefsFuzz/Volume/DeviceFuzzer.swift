// SPDX-License-Identifier: GPL-2.0
// The simulated device beside a naive model: what reads see, and what a crash may leave.
//
// How it works
//   1. Every write fills whole sectors with one number of its own, so that the model of a sector is
//      that number, 0 for zeros.
//   2. The model keeps the sectors as they are now, as the last flush left them, and the changes
//      since, one by one.
// Invariants
//   (1) Reads see the model's sectors.
//   (2) A crash image is what the model makes of the same survivors; of random survivors each
//       sector is one that some change since the flush left there, or the flush.

internal import BcachefsIO
internal import BcachefsSupport

/// Devices in memory.
final class DeviceFuzzer: Fuzzer {
  private static let sectorBytes = 512

  private struct Change {
    let sequence: UInt64
    let range: Range<Int>
    let number: UInt64
  }

  private struct Model {
    var sectors: [UInt64]
    var durable: [UInt64]
    var pending: [Change] = []

    mutating func apply(_ change: Change) {
      for sector in change.range { sectors[sector] = change.number }
      pending.append(change)
    }

    func image(first count: Int) -> [UInt64] {
      var result = durable
      for change in pending.prefix(count) {
        for sector in change.range { result[sector] = change.number }
      }
      return result
    }
  }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let sectorCount = 1 + random.below(64)
    var configuration = SimulatedDevice.Configuration()
    configuration.recordsContents = random.oneIn(2)
    let medium = SimulatedDevice(
      byteCount: UInt64(sectorCount * Self.sectorBytes), seed: random.next(),
      configuration: configuration)
    var model = Model(
      sectors: [UInt64](repeating: 0, count: sectorCount),
      durable: [UInt64](repeating: 0, count: sectorCount))
    let device = try mustWork("open") { () throws(DeviceError) in
      try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
    }
    var history: [(sequence: UInt64, model: Model)] = []
    for step in 0..<random.below(40) {
      let from = random.below(sectorCount)
      let range = from..<from + 1 + random.below(sectorCount - from)
      if configuration.recordsContents { history.append((medium.operationCount, model)) }
      try operate(device, medium, &model, range, number: UInt64(step + 1), &random)
    }
    try compare(device, model.sectors, "now")
    try crash(medium, model, &random)
    if let past = history.isEmpty ? nil : random.pick(history) {
      let image = medium.crashImage(beforeOperation: past.sequence, .all)
      try compare(image, past.model.sectors, "all before operation \(past.sequence)")
      let durable = medium.crashImage(beforeOperation: past.sequence, CrashSurvivors.none)
      try compare(durable, past.model.durable, "none before operation \(past.sequence)")
    }
    try compare(medium.copy(), model.sectors, "a copy")
  }

  private func operate(
    _ device: BlockDevice, _ medium: SimulatedDevice, _ model: inout Model, _ range: Range<Int>,
    number: UInt64, _ random: inout Xoshiro256
  ) throws(FuzzFailure) {
    let offset = UInt64(range.lowerBound * Self.sectorBytes)
    let end = UInt64(range.upperBound * Self.sectorBytes)
    let sequence = medium.operationCount
    switch random.below(10) {
    case 0..<5:
      let bytes = Self.fill(range.count, number)
      try mustWork("write") { () throws(DeviceError) in
        try device.write(bytes.rawBytes, atByte: offset)
      }
      model.apply(Change(sequence: sequence, range: range, number: number))
    case 5:
      try mustWork("flush") { () throws(DeviceError) in try device.flush() }
      model.durable = model.sectors
      model.pending = []
    case 6:
      try mustWork("discard") { () throws(DeviceError) in try device.discard(offset..<end) }
      model.apply(Change(sequence: sequence, range: range, number: 0))
    case 7:
      try mustWork("hole") { () throws(DeviceError) in try device.punchHole(offset..<end) }
      model.apply(Change(sequence: sequence, range: range, number: 0))
    case 8:
      let beyond: ()? = mayFail { () throws(DeviceError) in
        try device.write(Self.fill(range.count, 9).rawBytes, atByte: device.byteCount)
      }
      try check(beyond == nil, "a write beyond the end succeeds")
    default: try compare(device, model.sectors, "step \(number)")
    }
  }

  private func crash(
    _ medium: SimulatedDevice, _ model: Model, _ random: inout Xoshiro256
  ) throws(FuzzFailure) {
    try compare(medium.crashImage(.none), model.durable, "no survivors")
    try compare(medium.crashImage(.all), model.sectors, "all survivors")
    let count = random.below(model.pending.count + 2)
    try compare(
      medium.crashImage(.prefix(count)), model.image(first: count), "the first \(count)")
    let survivors: CrashSurvivors =
      random.oneIn(2) ? .subset(seed: random.next()) : .tornSubset(seed: random.next())
    let found = try Self.sectors(of: medium.crashImage(survivors))
    for (sector, number) in found.enumerated() {
      let isPossible =
        number == model.durable[sector]
        || model.pending.contains { $0.range.contains(sector) && $0.number == number }
      try check(isPossible, "\(survivors): sector \(sector) is \(number)")
    }
    let again = try Self.sectors(of: medium.crashImage(survivors))
    try check(again == found, "\(survivors): twice, with different results")
  }

  private func compare(
    _ medium: SimulatedDevice?, _ expected: [UInt64], _ what: String
  ) throws(FuzzFailure) {
    guard let medium else { throw FuzzFailure("\(what): no crash image") }
    let found = try Self.sectors(of: medium)
    try check(found == expected, "\(what): sectors are \(found), not \(expected)")
  }

  private func compare(
    _ device: BlockDevice, _ expected: [UInt64], _ what: String
  ) throws(FuzzFailure) {
    let found = try Self.sectors(of: device)
    try check(found == expected, "\(what): sectors are \(found), not \(expected)")
  }

  private static func sectors(of medium: SimulatedDevice) throws(FuzzFailure) -> [UInt64] {
    let device = try mustWork("open") { () throws(DeviceError) in
      try BlockDevice.open(simulated: medium, mode: .readOnly)
    }
    return try sectors(of: device)
  }

  private static func sectors(of device: BlockDevice) throws(FuzzFailure) -> [UInt64] {
    var bytes = [UInt8](repeating: 0xee, count: Int(device.byteCount))
    try mustWork("read") { () throws(DeviceError) in
      var span = bytes.mutableRawBytes
      try device.read(into: &span, atByte: 0)
    }
    var numbers: [UInt64] = []
    for start in stride(from: 0, to: bytes.count, by: sectorBytes) {
      let number = bytes.rawBytes.loadLittleEndian(at: start, as: UInt64.self)
      for at in stride(from: start, to: start + sectorBytes, by: 8) {
        let word = bytes.rawBytes.loadLittleEndian(at: at, as: UInt64.self)
        try check(word == number, "a sector with parts of two writes")
      }
      numbers.append(number)
    }
    return numbers
  }

  private static func fill(_ sectors: Int, _ number: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: sectors * sectorBytes)
    for at in stride(from: 0, to: bytes.count, by: 8) { bytes.put(number, at: at) }
    return bytes
  }
}
