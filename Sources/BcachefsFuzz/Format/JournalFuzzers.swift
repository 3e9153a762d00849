// SPDX-License-Identifier: GPL-2.0
// Journal entries: as a whole, and each type of what is in them.
//
// Invariants
//   (1) An entry that decodes encodes to its own bytes.
//   (2) Walks end, and stay within the bytes given.

internal import BcachefsFormat
internal import BcachefsSupport

/// Prints a key's value, as the commands do.
func valueText(_ key: BKey, _ value: RawSpan) -> [UInt8] {
  BKeyValue.valueTextBytes(key: key, value: value)
}

/// Whole journal entries.
final class JSetFuzzer: Fuzzer {
  private let corpus: [[UInt8]]
  private let keys: [CorpusKey]

  init(_ corpus: Corpus) throws(FuzzFailure) {
    let small = try corpus.volumes().journalEntries.filter { $0.count <= 16384 }
    self.corpus = corpus.journalEntries + small
    keys = corpus.keys
  }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var bytes = random.oneIn(2) ? random.pick(corpus) : try build(&random)
    let end = min(bytes.count, 56 + random.below(bytes.count))
    if random.oneIn(3) { Mutator.change(&bytes, in: 0..<56, most: 3, &random) }
    Mutator.change(&bytes, in: min(56, end - 1)..<end, most: 6, &random)
    if random.oneIn(8) { Mutator.changeLength(&bytes, unit: 8, &random) }
    try Self.walk(bytes.rawBytes, printing: random.oneIn(8))
  }

  /// A journal entry of the driver's keys.
  private func build(_ random: inout Xoshiro256) throws(FuzzFailure) -> [UInt8] {
    var builder = JSetBuilder()
    for _ in 0..<random.below(6) {
      let sample = random.pick(keys)
      let type: JSetEntryType = random.pick([.btreeKeys, .btreeRoot, .overwrite, .writeBufferKeys])
      try mustWork("building a journal entry") { () throws(FormatError) in
        let key = try BKey(decoding: sample.header.rawBytes)
        try builder.appendKey(
          type, btree: sample.btree, level: 0, key, value: sample.value.rawBytes)
      }
    }
    let header = JSetHeader(magic: random.next(), seq: 10, lastSeq: 3)
    return try mustWork("building a journal entry") { () throws(FormatError) in
      try builder.finish(header, blockByteCount: 512)
    }
  }

  /// Everything that looks at a journal entry.
  static func walk(_ bytes: RawSpan, printing: Bool) throws(FuzzFailure) {
    let decoded = mayFail { () throws(FormatError) in try JSetHeader(decoding: bytes) }
    guard let header = decoded else { return }
    _ = header.sectorCount(blockSectors: 8)
    _ = header.nonce
    try check(header.encryptedRange.upperBound == header.byteCount, "the encrypted range")
    try check(header.checksummedRange.upperBound == header.byteCount, "the checksummed range")
    _ = mayFail { () throws(FormatError) in
      try header.validateEarly(magic: header.magic, bytesLeft: bytes.byteCount)
    }
    if printing { try checkText(header.description, "jset header") }
    do throws(FormatError) {
      let view = try JSetView(validating: bytes)
      var entries = view.entries
      var last = -1
      while try entries.advance() {
        if entries.offset <= last { throw FormatError(.outOfOrder, "fuzz", "entry offset") }
        last = entries.offset
        try examine(entries.current, printing: printing)
      }
    } catch {
      try check("\(error.structure)" != "fuzz", "\(error)")
    }
  }

  /// Everything that looks at one entry within.
  ///
  /// - Throws: a `FormatError` of structure `fuzz` for a finding.
  static func examine(
    _ view: borrowing JSetEntryView, printing: Bool
  ) throws(FormatError) {
    var keys = view.keys
    // At most one key or error for each word.
    for _ in 0...(view.u64s + 1) {
      do throws(FormatError) {
        guard let key = try keys.next() else { break }
        if keys.value.byteCount != key.valueByteCount {
          throw FormatError(.inconsistent, "fuzz", "length of a key's value")
        }
      } catch {
        if "\(error.structure)" == "fuzz" { throw error }
      }
    }
    let decoded: JSetEntry
    do throws(FormatError) { decoded = try JSetEntry(decoding: view) } catch { return }
    let encoded = try decoded.encoded()
    if encoded != view.bytes.copied() {
      throw FormatError(.inconsistent, "fuzz", "encoded entry", found: UInt64(view.type.rawValue))
    }
    if printing {
      if decoded.textBytes(values: valueText).contains(0) {
        throw FormatError(.invalid, "fuzz", "NUL in text", found: UInt64(view.type.rawValue))
      }
    }
  }
}

/// Entries within journal entries, type by type.
final class JSetEntryFuzzer: Fuzzer {
  private let keys: [CorpusKey]

  init(_ corpus: Corpus) { keys = corpus.keys }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let type = random.oneIn(16) ? random.byte() : UInt8(random.below(14))
    var bytes = [UInt8](repeating: 0, count: 8)
    bytes[2] = random.oneIn(4) ? random.byte() : UInt8(random.below(22))
    bytes[3] = UInt8(random.below(5))
    bytes[4] = type
    if random.oneIn(8) { for at in 5..<8 { bytes[at] = random.byte() } }
    bytes += payload(JSetEntryType(rawValue: type), &random)
    while bytes.count % 8 != 0 { bytes.append(0) }
    if random.oneIn(2), bytes.count > 8 {
      Mutator.change(&bytes, in: 8..<bytes.count, most: 4, &random)
    }
    if random.oneIn(8) { Mutator.changeLength(&bytes, unit: 8, &random) }
    if bytes.count < 8 { return }
    bytes.put(UInt16(truncatingIfNeeded: bytes.count / 8 - 1), at: 0)
    do throws(FormatError) {
      var entries = JSetEntryIterator(bytes.rawBytes)
      while try entries.advance() {
        try JSetFuzzer.examine(entries.current, printing: true)
      }
    } catch {
      try check("\(error.structure)" != "fuzz", "\(error)")
    }
  }

  private func payload(_ type: JSetEntryType, _ random: inout Xoshiro256) -> [UInt8] {
    switch type {
    case .btreeKeys, .btreeRoot, .overwrite, .writeBufferKeys:
      var bytes: [UInt8] = []
      for _ in 0..<(type == .btreeRoot ? 1 : random.below(4)) {
        let key = random.pick(keys)
        bytes += key.header + key.value
      }
      return bytes
    case .blacklist: return number(random.interesting())
    case .blacklistV2: return number(random.interesting()) + number(random.interesting())
    case .dataUsage:
      let count = UInt8(random.below(6))
      return number(random.anyWidth()) + [UInt8(random.below(8)), count, UInt8(random.below(3))]
        + random.bytes(Int(count))
    case .clock:
      return [UInt8(random.below(2))] + random.bytes(7) + number(random.anyWidth())
    case .devUsage:
      return number(UInt64(random.below(64))) + random.bytes(16 + 24 * random.below(12))
    case .log: return random.bytes(random.below(40)).map { $0 & 0x7f }
    default: return random.bytes(8 * random.below(6))
    }
  }

  private func number(_ value: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 8)
    bytes.put(value, at: 0)
    return bytes
  }
}
