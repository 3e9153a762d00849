// SPDX-License-Identifier: GPL-2.0
// Journal entries for people and as JSON.
//
// The header of an entry is that of bcachefs-tools 1.39; what is in it is printed as the driver of
// Linux 6.12 prints it (`bch2_journal_entry_to_text`).

internal import Bcachefs
internal import BcachefsFormat

/// How entries are shown.
struct JournalText {
  var showsValues = true
  var showsOffsets = false
  /// What recovery makes of an entry, too.
  var showsFate = false
  /// No control characters from names, and colours for keys that a filter names.
  var isForTerminal = false
  let filter: JournalFilter
  let journal: VolumeJournal
  let context: BKeyContext

  init(_ journal: VolumeJournal, filter: JournalFilter) {
    self.journal = journal
    self.filter = filter
    context = journal.keyContext
  }

  // MARK: - Text

  /// The header, after an empty line.
  func header(_ entry: VolumeJournal.Entry) -> String {
    let blockSectors = Int(journal.superblock.blockSizeSectors)
    let places = entry.places.map { place in
      "\(place.deviceName ?? "(invalid dev)") \(place.device):\(place.index):"
        + "\(place.offsetSectors) (sector \(place.sector))"
    }
    let header = entry.header
    var text = """

      \(Self.title(entry))     \(entry.sequence)
        bytes           \(header.byteCount)
        sectors         \(header.sectorCount(blockSectors: blockSectors))
        version         \(header.version)
        last seq        \(header.lastSeq)
        flush           \(header.isFlush ? 1 : 0)
        written at      \(places.joined(separator: " "))

      """
    if showsFate { text += "  fate            \(entry.fate.rawValue)\n" }
    return text
  }

  static func title(_ entry: VolumeJournal.Entry) -> String {
    (entry.isIgnored ? "blacklisted " : "") + (entry.isDamaged ? "damaged " : "") + "journal entry"
  }

  /// One line: the number, and when it was written.
  func dateLine(_ entry: VolumeJournal.Entry, _ parts: [VolumeJournal.Part]) -> String {
    let number = "\(entry.sequence)"
    let padding = String(repeating: " ", count: max(0, 8 - number.count))
    let date = parts.lazy.compactMap { try? $0.contents.get() }.first { $0.type == .datetime }
    let dateText = date.map { String(decoding: text($0), as: UTF8.self) } ?? ""
    return "\(Self.title(entry))     \(number)\(padding) \(dateText)\n"
  }

  /// A part, with the indentation that its place in a transaction has; nil for what is not shown.
  func text(_ part: VolumeJournal.Part) -> [UInt8]? {
    let offset = showsOffsets ? Self.padded(part.offsetU64s) + " " : ""
    guard case .success(let entry) = part.contents else {
      guard case .failure(let error) = part.contents else { return nil }
      return Array("    \(offset)(invalid: \(error))\n".utf8)
    }
    guard filter.shows(entry) else { return nil }
    let stands =
      JournalFilter.beginsTransaction(part)
      || [.btreeRoot, .datetime, .usage].contains(entry.type)
    let indentation = stands ? "  " : "    "
    let newline = UInt8(ascii: "\n")
    var body = Array((indentation + offset).utf8)
    let contents = text(entry)
    for byte in contents {
      body.append(byte)
      if byte == newline { body += indentation.utf8 }
    }
    body.append(newline)
    guard isForTerminal else { return body }
    body = ByteOutput.harmless(body)
    guard filter.highlights(entry) else { return body }
    return Array("\u{1b}[31m".utf8) + body + Array("\u{1b}[0m".utf8)
  }

  private func text(_ entry: JSetEntry) -> [UInt8] {
    let context = self.context
    let values: JSetEntry.ValueText = { key, value in
      BKeyValue.valueTextBytes(key: key, value: value, context: context)
    }
    let date: JSetEntry.DateForm = { seconds in
      DateText.text(seconds: seconds, offset: LocalTime.offset(at: seconds))
    }
    return entry.textBytes(values: showsValues ? values : nil, date: date)
  }

  private static func padded(_ number: Int) -> String {
    let text = "\(number)"
    return String(repeating: " ", count: max(0, 4 - text.count)) + text
  }

  /// What recovery ignores has stars where lines are indented.
  static func starred(_ text: [UInt8]) -> [UInt8] {
    var result = text
    var isStart = true
    for index in result.indices {
      if isStart && result[index] == UInt8(ascii: " ") { result[index] = UInt8(ascii: "*") }
      isStart = text[index] == UInt8(ascii: "\n")
    }
    return result
  }

  // MARK: - JSON

  func json(_ entry: VolumeJournal.Entry, parts: [VolumeJournal.Part]?) -> JSONValue {
    let header = entry.header
    let blockSectors = Int(journal.superblock.blockSizeSectors)
    var members: [JSONValue.Member] = [
      .init("seq", .integer(entry.sequence)), .init("bytes", .integer(UInt64(header.byteCount))),
      .init("sectors", .integer(UInt64(header.sectorCount(blockSectors: blockSectors)))),
      .init("version", .number(header.version)), .init("last_seq", .integer(header.lastSeq)),
      .init("flush", .bool(header.isFlush)), .init("fate", .string(entry.fate.rawValue)),
      .init("blacklisted", .bool(entry.isIgnored)), .init("damaged", .bool(entry.isDamaged)),
      .init("places", .array(entry.places.map(json))),
    ]
    if let parts { members.append(.init("entries", .array(parts.compactMap(json)))) }
    return .object(members)
  }

  private func json(_ place: VolumeJournal.Place) -> JSONValue {
    .object([
      .init("device", .number(place.device)),
      .init("name", place.deviceName.map { .string($0) } ?? .null),
      .init("index", .integer(UInt64(place.index))),
      .init("offset_sectors", .integer(UInt64(place.offsetSectors))),
      .init("sector", .integer(place.sector)), .init("good", .bool(place.isChecksumGood)),
    ])
  }

  private func json(_ part: VolumeJournal.Part) -> JSONValue? {
    let offset = JSONValue.Member("offset_u64s", .integer(UInt64(part.offsetU64s)))
    switch part.contents {
    case .failure(let error): return .object([offset, .init("invalid", .string("\(error)"))])
    case .success(let entry):
      guard filter.shows(entry) else { return nil }
      var members = [offset, .init("type", .string("\(entry.type)"))]
      guard entry.keyBytes != nil else {
        let text = entry.description
        let start = text.firstRange(of: ": ")?.upperBound ?? text.startIndex
        members.append(.init("level", .number(entry.level)))
        members.append(.init("text", .string(String(text[start...]))))
        return .object(members)
      }
      members.append(.init("btree", .string("\(entry.btree)")))
      members.append(.init("level", .number(entry.level)))
      members.append(.init("keys", .array(keys(of: entry))))
      return .object(members)
    }
  }

  private func keys(of entry: JSetEntry) -> [JSONValue] {
    let bytes = entry.keyBytes ?? []
    var keys = unsafe JSetKeyIterator(bytes.span.bytes)
    var result: [JSONValue] = []
    while let key = try? keys.next() {
      var members = [JSONValue.Member("key", .string("\(key)"))]
      if showsValues, key.valueU64s > 0 {
        let text = BKeyValue.valueText(key: key, value: keys.value, context: context)
        members.append(.init("value", .string(text)))
      }
      result.append(.object(members))
    }
    return result
  }
}
