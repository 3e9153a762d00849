// SPDX-License-Identifier: GPL-2.0
// Journal entries in upstream's notation (`bch2_journal_entry_to_text`).

extension JSetEntry {
  /// Prints a value; the key stands before it.
  public typealias ValueText = (BKey, RawSpan) -> String

  /// `TYPE: CONTENTS`; for unknown types `(unknown jset_entry_type N)` alone. Entries with several
  /// keys take a line for each.
  ///
  /// - Parameter values: prints what follows `KEY: `; without it only keys are printed.
  public func text(values: ValueText? = nil) -> String {
    guard type.isKnown else { return type.description }
    return "\(type): \(contents(values))"
  }

  private func contents(_ values: ValueText?) -> String {
    switch payload {
    case .keys(let bytes): return keysText(bytes, values)
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
    case .log(let text):
      return String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
    case .datetime(let seconds): return "\(seconds)"
    case .opaque: return ""
    }
  }

  private func keysText(_ bytes: [UInt8], _ values: ValueText?) -> String {
    var lines: [String] = []
    var keys = unsafe JSetKeyIterator(bytes.span.bytes)
    do {
      while let key = try keys.next() {
        var line = "btree=\(btree) l=\(level) \(key)"
        if key.valueU64s > 0, let values { line += ": \(values(key, keys.value))" }
        lines.append(line)
      }
    } catch {
      lines.append("\(error)")
    }
    return lines.joined(separator: "\n\(type): ")
  }
}

extension JSetEntry: CustomStringConvertible {
  public var description: String { text() }
}
