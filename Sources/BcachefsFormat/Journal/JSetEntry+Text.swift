// SPDX-License-Identifier: GPL-2.0
// Journal entries in upstream's notation (`bch2_journal_entry_to_text`).

extension JSetEntry {
  /// Prints a value; the key stands before it.
  public typealias ValueText = (BKey, RawSpan) -> [UInt8]
  /// Prints a point in time, in seconds since 1970.
  public typealias DateForm = (Int64) -> String

  /// `TYPE: CONTENTS`; for unknown types `(unknown jset_entry_type N)` alone. Entries with several
  /// keys take a line for each.
  ///
  /// - Parameters:
  ///   - values: prints what follows `KEY: `; without it only keys are printed.
  ///   - date: prints times; without it they are numbers, as the driver prints them.
  public func textBytes(values: ValueText? = nil, date: DateForm? = nil) -> [UInt8] {
    guard type.name != nil else { return Array(type.description.utf8) }
    let start = Array("\(type): ".utf8)
    guard let keyBytes else { return start + contents(date).utf8 }
    return start + keysText(keyBytes, values)
  }

  private func contents(_ date: DateForm?) -> String {
    switch payload {
    case .blacklist(let seq): return "seq=\(seq)"
    case .blacklistRange(let start, let end): return "start=\(start) end=\(end)"
    case .usage(let value): return "type=\(usageType) v=\(value)"
    case .dataUsage(let type, let required, let devices, let sectors):
      let list = devices.map { "\($0)" }.joined(separator: " ")
      return "\(type): \(required)/\(devices.count) [\(list)]=\(sectors)"
    case .clock(let rw, _, let time): return "\(rw != 0 ? "write" : "read")=\(time)"
    case .deviceUsage(let device, _, _, let types):
      let lines = types.enumerated().map { index, usage in
        "\n  \(DataType(rawValue: UInt8(truncatingIfNeeded: index))): buckets=\(usage.buckets)"
          + " sectors=\(usage.sectors) fragmented=\(usage.fragmented)"
      }
      return "dev=\(device)\(lines.joined())"
    case .log: return logText ?? ""
    case .datetime(let seconds): return date?(seconds) ?? "\(seconds)"
    case .keys: return ""
    case .opaque: return newerText
    }
  }

  /// What an entry of type `log` says: of a transaction (level 0) the function that made it.
  public var logText: String? {
    guard case .log(let text) = payload else { return nil }
    return SafeText.text(text.prefix { $0 != 0 })
  }

  /// Types of formats newer than 1.13 are kept as bytes.
  private var newerText: String {
    let bytes = unsafe tail.span.bytes
    switch type {
    case .rewindLimit where bytes.byteCount >= 8: return "seq \(bytes[LEField<UInt64>(0)])"
    case .rewind where bytes.byteCount >= 16:
      return "from \(bytes[LEField<UInt64>(0)]) to \(bytes[LEField<UInt64>(8)])"
    default: return ""
    }
  }

  /// The bytes of all keys within, each with its value; nil for types without keys.
  public var keyBytes: [UInt8]? {
    switch payload {
    case .keys(let bytes): bytes
    case .opaque: type == .logBKey ? tail : nil
    default: nil
    }
  }

  private func keysText(_ bytes: [UInt8], _ values: ValueText?) -> [UInt8] {
    var text: [UInt8] = []
    func beginLine() { if !text.isEmpty { text += "\n\(type): ".utf8 } }
    var keys = unsafe JSetKeyIterator(bytes.span.bytes)
    do {
      while let key = try keys.next() {
        beginLine()
        text += "btree=\(btree) l=\(level) \(key)".utf8
        if key.valueU64s > 0, let values {
          text += ": ".utf8
          text += values(key, keys.value)
        }
      }
    } catch {
      beginLine()
      text += "\(error)".utf8
    }
    return text
  }
}

extension JSetEntry: CustomStringConvertible {
  public var description: String { String(decoding: textBytes(), as: UTF8.self) }
}
