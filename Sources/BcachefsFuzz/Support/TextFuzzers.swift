// SPDX-License-Identifier: GPL-2.0
// Text that people type, and text for people: options, sizes, UUIDs, dates, columns.
//
// Invariants
//   (1) A valid value of an option survives the superblock, and its text if that is exact.
//   (2) What parse returns is valid.

internal import BcachefsFormat
internal import BcachefsSupport

/// Options.
final class OptionFuzzer: Fuzzer {
  private static let alphabet: [Character] = Array("0123456789-+.,;:=kKMGTPEiB no_yestrufalzdpcm\n")

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let option = random.pick(VolumeOption.allCases)
    try typed(option, &random)
    try stored(option, &random)
    try mounted(&random)
  }

  private let lookup: VolumeOption.TargetLookup = { name in
    guard name.hasPrefix("t"), let number = UInt16(name.dropFirst()) else { return nil }
    return DiskTarget(rawValue: number)
  }
  private let names: VolumeOption.TargetNames = { "t\($0.rawValue)" }

  private func typed(
    _ option: VolumeOption, _ random: inout Xoshiro256
  ) throws(FuzzFailure) {
    let text =
      random.oneIn(4)
      ? option.text(random.interesting(), targets: names)
      : random.text(of: Self.alphabet, maxCount: 12)
    let parsed = mayFail { () throws(OptionError) in try option.parse(text, targets: lookup) }
    guard let value = parsed else { return }
    let isValid: ()? = mayFail { () throws(OptionError) in try option.validate(value) }
    try check(isValid != nil, "\(option)=\(text) parses to \(value), which is not valid")
    try valid(option, value)
  }

  /// A value that is valid.
  private func valid(_ option: VolumeOption, _ value: UInt64) throws(FuzzFailure) {
    var words = SuperblockOptionWords()
    words.set(option, to: value)
    if let found = words.value(of: option) {
      try check(
        found == value || (value == 0 && found == option.defaultValue),
        "\(option)=\(value) is \(found) in the superblock")
    }
    if let found = option.value(inMemberFlags: option.setting(memberFlags: 0, to: value)) {
      try check(
        found == value || (value == 0 && found == option.defaultValue),
        "\(option)=\(value) is \(found) in a member")
    }
    let text = option.text(value, targets: names)
    _ = option.fullListText(value)
    if option.flags.contains(.humanReadable) {
      let digits = try mustWork("\(option)=\(value)") { () throws(OptionError) in
        try option.parse(String(value), targets: lookup)
      }
      try check(digits == value, "\(option)=\(value) parses to \(digits)")
    } else if value <= UInt64(Int64.max), !text.isEmpty {
      let again = try mustWork("\(option)=\(text)") { () throws(OptionError) in
        try option.parse(text, targets: lookup)
      }
      try check(again == value, "\(option)=\(text) parses to \(again), not \(value)")
    }
    guard option.flags.contains(.mount), !option.flags.contains(.humanReadable),
      value <= UInt64(Int64.max), !text.contains(","), !text.isEmpty
    else { return }
    var options = VolumeOptions()
    let list = option.mountText(value, targets: names)
    let others = try mustWork("mount option \(list)") { () throws(OptionError) in
      try options.setMountOptions(list, targets: lookup)
    }
    try check(others.isEmpty && options[option] == value, "mount option \(list)")
  }

  private func stored(
    _ option: VolumeOption, _ random: inout Xoshiro256
  ) throws(FuzzFailure) {
    let value = random.interesting()
    _ = option.text(value)
    _ = option.mountText(value)
    let isValid: ()? = mayFail { () throws(OptionError) in try option.validate(value) }
    if isValid != nil { try valid(option, value) }
    var words = SuperblockOptionWords(
      blockSizeSectors: UInt16(truncatingIfNeeded: random.interesting()))
    for index in 0..<7 { words.flags[index] = random.next() }
    guard random.oneIn(8) else { return }
    let options = VolumeOptions(superblock: words)
    _ = mayFail { () throws(OptionError) in try options.validate() }
    _ = options.mountText(showing: [.filesystem, .device, .mount])
  }

  private func mounted(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var parts: [String] = []
    for _ in 0..<random.below(4) {
      var part = random.oneIn(3) ? "no" : ""
      part +=
        random.oneIn(8)
        ? random.text(of: Self.alphabet, maxCount: 6) : random.pick(VolumeOption.allCases).name
      if random.oneIn(2) { part += "=" + random.text(of: Self.alphabet, maxCount: 8) }
      parts.append(part)
    }
    let list = parts.joined(separator: ",")
    var options = VolumeOptions()
    do throws(OptionError) {
      _ = try options.setMountOptions(list, targets: lookup)
    } catch {
      try check(!error.description.isEmpty, "an error without text for \(list)")
      return
    }
    let isValid: ()? = mayFail { () throws(OptionError) in try options.validate() }
    try check(isValid != nil, "mount options \(list) are taken and not valid")
  }
}

/// Sizes, UUIDs, dates, columns, labels.
final class TextFuzzer: Fuzzer {
  private static let sizes: [Character] = Array("0123456789.kKMGTPEiB +-\n")
  private static let hex: [Character] = Array("0123456789abcdefABCDEF-")

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    try sizes(&random)
    try uuids(&random)
    try columns(&random)
    _ = DateText.text(
      seconds: Int64(bitPattern: random.interesting()),
      offset: Int64(bitPattern: random.interesting()))
    let noise = random.bytes(random.below(40))
    let safe = SafeText.text(noise)
    try check(!safe.utf8.contains { $0 < 0x20 || $0 == 0x7f }, "control characters in \(safe)")
    let bytes = JSONValue.string(String(decoding: noise, as: UTF8.self)).text().utf8
    try check(!bytes.contains { $0 < 0x20 }, "control characters in JSON")
  }

  private func sizes(_ random: inout Xoshiro256) throws(FuzzFailure) {
    _ = HumanSize.parse(random.text(of: Self.sizes, maxCount: 10))
    _ = HumanSize.parse(String(decoding: random.bytes(random.below(12)), as: UTF8.self))
    let value = random.interesting()
    try check(HumanSize.parse(String(value)) == value, "size \(value)")
    let text = HumanSize.text(value)
    let again = try mustFind(
      HumanSize.parse(text.replacing16EiB), "size \(value) prints as \(text)")
    let (low, high) = (min(again, value), max(again, value))
    try check(high - low <= high / 100 + 1, "size \(value) prints as \(text), read as \(again)")
  }

  private func mustFind(_ value: UInt64?, _ text: String) throws(FuzzFailure) -> UInt64 {
    guard let value else { throw FuzzFailure(text) }
    return value
  }

  private func uuids(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let uuid = UUID(lo: random.interesting(), hi: random.next())
    try check(UUID(uuid.description) == uuid, "UUID \(uuid)")
    var text = Array(uuid.description)
    text[random.below(text.count)] = random.pick(Self.hex)
    if random.oneIn(4) { text.append("0") }
    if let other = UUID(String(text)) {
      try check(other.description == String(text).lowercased(), "UUID \(String(text))")
    }
    _ = UUID(random.text(of: Self.hex, maxCount: 40))
    var bytes = [UInt8](repeating: 0, count: 16)
    var span = bytes.mutableRawBytes
    uuid.encode(into: &span)
    try check(UUID(decoding: bytes.rawBytes) == uuid, "UUID \(uuid) on disk")
  }

  private func columns(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var out = TextPrinter()
    for _ in 0..<random.below(30) {
      switch random.below(7) {
      case 0: out.addTabStop(random.below(20))
      case 1: out.print(random.text(of: ["a", "\t", "\n", " "], maxCount: 8))
      case 2: out.printRaw(random.text(of: ["a", "\t", "\n", " "], maxCount: 8))
      case 3: out.newline()
      case 4: out.tab()
      case 5: out.indent(random.below(6))
      default: out.outdent(random.below(8))
      }
    }
    _ = out.text
  }
}

extension String {
  /// Sizes of 16 EiB do not fit 64 bits; as near as possible.
  fileprivate var replacing16EiB: String {
    self == "16.0 EiB" ? String(UInt64.max) : self
  }
}
