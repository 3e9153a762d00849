// SPDX-License-Identifier: GPL-2.0
// Journal entries of the superblock's clean section as text (`bch2_journal_entry_to_text`).

internal import BcachefsSupport

extension CleanSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    out.printLine("flags:          \(String(flags, radix: 16))")
    out.printLine("journal_seq:    \(journalSeq)")
    for entry in entries where !entry.isEmptyKeys {
      entry.print(into: &out, style: style)
      out.newline()
    }
  }
}

extension CleanEntry {
  /// Prints without ending the line. Of a payload that is too short for its type, only the type.
  func print(into out: inout TextPrinter, style: SuperblockTextStyle) {
    out.print("\(type)")
    guard type.isKnown else { return }
    out.print(": ")
    switch type {
    case .btreeKeys, .btreeRoot, .overwrite, .writeBufferKeys: printKeys(into: &out)
    case .devUsage: printDeviceUsage(into: &out)
    case .log: out.print(SafeText.text(payload.prefix { $0 != 0 }))
    default: out.print(wordsText(style: style) ?? "")
    }
  }

  /// Types that are a few numbers.
  private func wordsText(style: SuperblockTextStyle) -> String? {
    guard let first = word(0) else { return nil }
    switch type {
    case .blacklist: return "seq=\(first)"
    case .blacklistV2: return word(8).map { "start=\(first) end=\($0)" }
    case .usage: return "type=\(FilesystemUsageType(rawValue: btreeID.rawValue)) v=\(first)"
    case .dataUsage: return replicasEntry.map { "\($0)=\(first)" }
    case .clock: return word(8).map { "\(first & 0xff == 0 ? "read" : "write")=\($0)" }
    case .datetime: return style.date(first)
    default: return nil
    }
  }

  /// The 8 bytes at an offset of the payload.
  private func word(_ offset: Int) -> UInt64? {
    guard offset + 8 <= payload.count else { return nil }
    return (0..<8).reduce(0) { $0 | UInt64(payload[offset + $1]) << UInt64($1 * 8) }
  }

  /// Of a `data_usage` entry: which devices the count is for.
  private var replicasEntry: ReplicasEntry? {
    guard payload.count >= 8 + ReplicasEntry.Layout.byteCount else { return nil }
    let count = Int(payload[8 + ReplicasEntry.Layout.deviceCount.offset])
    let first = 8 + ReplicasEntry.Layout.byteCount
    guard first + count <= payload.count else { return nil }
    return ReplicasEntry(
      dataType: DataType(rawValue: payload[8 + ReplicasEntry.Layout.dataType.offset]),
      requiredCount: payload[8 + ReplicasEntry.Layout.requiredCount.offset],
      devices: Array(payload[first..<first + count]))
  }

  private func printDeviceUsage(into out: inout TextPrinter) {
    // A device index and two words no longer used; then three words for each type of data.
    guard let device = word(0), payload.count >= 24 else { return }
    out.print("dev=\(UInt32(truncatingIfNeeded: device))")
    out.indent(2)
    for index in 0..<(payload.count - 24) / 24 {
      let base = 24 + index * 24
      guard let buckets = word(base), let sectors = word(base + 8), let rest = word(base + 16)
      else { break }
      out.newline()
      let type = DataType(rawValue: UInt8(clamping: index))
      out.print("\(type): buckets=\(buckets) sectors=\(sectors) fragmented=\(rest)")
    }
    out.outdent(2)
  }

  private func printKeys(into out: inout TextPrinter) {
    var offset = 0
    while offset < payload.count {
      if offset > 0 {
        out.newline()
        out.print("\(type): ")
      }
      out.print("btree=\(btreeID) l=\(level) ")
      let count = Int(payload[offset]) * 8
      guard count > 0, offset + count <= payload.count else {
        out.print("(invalid key)")
        return
      }
      out.print(Self.keyText(Array(payload[offset..<offset + count])))
      offset += count
    }
  }

  private static func keyText(_ bytes: [UInt8]) -> String {
    guard let key = try? BKey(decoding: bytes.rawBytes) else { return "(invalid key)" }
    let value = bytes.rawBytes.extracting(BKey.Layout.byteCount..<bytes.count)
    return SafeText.text(BKeyValue.text(key: key, value: value).utf8)
  }
}
