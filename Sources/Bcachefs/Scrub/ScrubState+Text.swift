// SPDX-License-Identifier: GPL-2.0
// A scrub's state as text, to be kept in a file between two runs.
//
// How it works
//   1. A line a fact: a word for what it is, then its fields, each behind a tab. In fields a tab, a
//      newline and a backslash are written as \t, \n and \\; names of files are hexadecimal.
//   2. The first line names the form and its version, the last one says `end`: a file that was cut
//      off is refused.
// Invariants
//   (1) `init(decoding:)` of what `encoded` gives is the same state.
//   (2) Decoding takes no more memory than the text; anything unexpected is an error.

internal import BcachefsFormat
internal import BcachefsSupport

extension ScrubState {
  private static let head = "bcachefs-scrub\t1"

  /// The state as text.
  public var encoded: [UInt8] {
    var lines = [
      Self.head,
      Self.line("volume", volume, superblockNumber),
      Self.line(
        "options", options.isMetadataOnly ? 1 : 0, options.device.map { Int($0) } ?? -1),
      Self.line(
        "place", place.phase.rawValue, place.btree.rawValue, place.level, place.position.inode,
        place.position.offset, place.position.snapshot, place.isAtStart ? 1 : 0),
      Self.line("count", harmlessCount, repairableCount, lostCount),
    ]
    for device in devices {
      lines.append(
        Self.line(
          "device", device.metadataSectors, device.dataSectors, device.cachedSectors,
          device.paritySectors, device.harmlessSectors, device.repairableSectors,
          device.lostSectors, device.missingCopies))
    }
    for finding in findings {
      lines.append(
        Self.line(
          "finding", finding.kind.rawValue, finding.outcome.rawValue,
          finding.btree.map { Int($0.rawValue) } ?? -1, finding.level, finding.start.inode,
          finding.start.offset, finding.start.snapshot, finding.end.inode, finding.end.offset,
          finding.end.snapshot, Self.escaped(finding.note)))
      for copy in finding.copies {
        lines.append(
          Self.line(
            "copy", copy.device, copy.sector, copy.sectorCount, copy.isCached ? 1 : 0,
            Self.escaped(copy.problem)))
      }
      for file in finding.files {
        lines.append(
          Self.line(
            "file", file.id.subvolume, file.id.inode, file.range.lowerBound,
            file.range.upperBound, file.path.map { "=" + $0.hexadecimal } ?? "-"))
      }
    }
    lines.append("end")
    return Array((lines.joined(separator: "\n") + "\n").utf8)
  }

  /// Reads a state back.
  ///
  /// - Throws: `.corrupt`, naming the line.
  public init(decoding bytes: [UInt8]) throws(VolumeError) {
    var reader = Reader(bytes)
    guard reader.next() && reader.text == Self.head else {
      throw reader.error("no state of a scrub")
    }
    try reader.expect("volume", 2)
    guard let volume = UUID(reader.fields[0]) else { throw reader.error("no UUID") }
    let number = try reader.number(1, as: UInt64.self)
    try reader.expect("options", 2)
    var options = ScrubOptions()
    options.isMetadataOnly = try reader.number(0, as: UInt8.self) != 0
    if reader.fields[1] != "-1" { options.device = try reader.number(1, as: UInt8.self) }
    self.init(volume: volume, superblockNumber: number, options: options, devices: [])
    place = try Self.place(&reader)
    try reader.expect("count", 3)
    harmlessCount = try reader.number(0, as: UInt64.self)
    repairableCount = try reader.number(1, as: UInt64.self)
    lostCount = try reader.number(2, as: UInt64.self)
    while reader.next() {
      switch reader.word {
      case "device": devices.append(try Self.counts(reader))
      case "finding": findings.append(try Self.finding(&reader))
      case "end":
        guard isPlausible else { throw reader.error("the counts do not fit the findings") }
        return
      default: throw reader.error("\"\(reader.word)\" is not expected")
      }
    }
    throw reader.error("the file is cut off")
  }

  /// The largest count that is believed.
  private static let countMax: UInt64 = 1 << 50

  /// Whether sums of the counts cannot overflow, and nothing was left out.
  private var isPlausible: Bool {
    let counts = [harmlessCount, repairableCount, lostCount]
    return counts.allSatisfy { $0 <= Self.countMax } && devices.count <= 256
      && findings.count <= Self.findingsMax && findingCount >= UInt64(findings.count)
  }

  private static func place(_ reader: inout Reader) throws(VolumeError) -> Place {
    try reader.expect("place", 7)
    guard let phase = ScrubPhase(rawValue: try reader.number(0, as: UInt8.self)) else {
      throw reader.error("an unknown phase")
    }
    return Place(
      phase: phase, btree: BTreeID(rawValue: try reader.number(1, as: UInt8.self)),
      level: try reader.number(2, as: UInt8.self), position: try reader.position(3),
      isAtStart: try reader.number(6, as: UInt8.self) != 0)
  }

  private static func counts(_ reader: Reader) throws(VolumeError) -> ScrubDeviceCounts {
    var values: [UInt64] = []
    for index in 0..<8 { values.append(try reader.number(index, as: UInt64.self)) }
    var counts = ScrubDeviceCounts()
    counts.metadataSectors = values[0]
    counts.dataSectors = values[1]
    counts.cachedSectors = values[2]
    counts.paritySectors = values[3]
    counts.harmlessSectors = values[4]
    counts.repairableSectors = values[5]
    counts.lostSectors = values[6]
    counts.missingCopies = values[7]
    return counts
  }

  private static func finding(_ reader: inout Reader) throws(VolumeError) -> ScrubFinding {
    guard reader.fields.count == 11,
      let kind = ScrubFinding.Kind(rawValue: reader.fields[0]),
      let outcome = ScrubFinding.Outcome(rawValue: reader.fields[1])
    else { throw reader.error("no finding") }
    let btree =
      reader.fields[2] == "-1" ? nil : BTreeID(rawValue: try reader.number(2, as: UInt8.self))
    let level = try reader.number(3, as: Int.self)
    let (start, end) = (try reader.position(4), try reader.position(7))
    let note = unescaped(reader.fields[10])
    var copies: [ScrubFinding.BadCopy] = []
    var files: [ScrubFile] = []
    while reader.peeksAt("copy") {
      try reader.expect("copy", 5)
      copies.append(
        ScrubFinding.BadCopy(
          device: try reader.number(0, as: UInt8.self),
          sector: try reader.number(1, as: UInt64.self),
          sectorCount: try reader.number(2, as: UInt32.self),
          isCached: try reader.number(3, as: UInt8.self) != 0,
          problem: unescaped(reader.fields[4])))
    }
    while reader.peeksAt("file") {
      try reader.expect("file", 5)
      let first = try reader.number(2, as: UInt64.self)
      let end = try reader.number(3, as: UInt64.self)
      guard first <= end else { throw reader.error("a range that ends before it starts") }
      var path: [UInt8]?
      if reader.fields[4] != "-" {
        guard let bytes = [UInt8](hexadecimal: reader.fields[4].dropFirst()) else {
          throw reader.error("no hexadecimal name")
        }
        path = bytes
      }
      files.append(
        ScrubFile(
          id: FileID(
            subvolume: try reader.number(0, as: UInt32.self),
            inode: try reader.number(1, as: UInt64.self)),
          path: path, range: first..<end))
    }
    var finding = ScrubFinding(
      kind, outcome, btree: btree, level: level, start: start, end: end, copies: copies,
      note: note)
    finding.files = files
    return finding
  }

  // MARK: - Fields

  private static func line(_ word: String, _ fields: any CustomStringConvertible...) -> String {
    ([word] + fields.map(\.description)).joined(separator: "\t")
  }

  private static func escaped(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\t": out += "\\t"
      case "\n": out += "\\n"
      case "\\": out += "\\\\"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }

  private static func unescaped(_ text: String) -> String {
    var out = ""
    var isEscaped = false
    for scalar in text.unicodeScalars {
      switch (isEscaped, scalar) {
      case (false, "\\"):
        isEscaped = true
        continue
      case (true, "t"): out += "\t"
      case (true, "n"): out += "\n"
      default: out.unicodeScalars.append(scalar)
      }
      isEscaped = false
    }
    return out
  }

  /// Lines, one after the other.
  private struct Reader {
    private let lines: [Substring]
    private var index = -1
    private(set) var text = ""
    private(set) var word = ""
    private(set) var fields: [String] = []

    init(_ bytes: [UInt8]) {
      lines = String(decoding: bytes, as: UTF8.self).split(
        separator: "\n", omittingEmptySubsequences: false)
    }

    /// Goes to the next line; false at the end.
    mutating func next() -> Bool {
      guard index + 1 < lines.count else { return false }
      index += 1
      text = String(lines[index])
      let parts = text.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      word = parts.first ?? ""
      fields = Array(parts.dropFirst())
      return true
    }

    func peeksAt(_ word: String) -> Bool {
      index + 1 < lines.count && lines[index + 1].hasPrefix(word + "\t")
    }

    mutating func expect(_ word: String, _ count: Int) throws(VolumeError) {
      guard next(), self.word == word, fields.count == count else {
        throw error("a line \"\(word)\" with \(count) fields was expected")
      }
    }

    func number<Value: FixedWidthInteger>(
      _ field: Int, as type: Value.Type
    ) throws(VolumeError) -> Value {
      guard fields.indices.contains(field), let value = Value(fields[field]) else {
        throw error("field \(field + 1) is no number")
      }
      return value
    }

    func position(_ field: Int) throws(VolumeError) -> BPos {
      BPos(
        try number(field, as: UInt64.self), try number(field + 1, as: UInt64.self),
        try number(field + 2, as: UInt32.self))
    }

    func error(_ problem: String) -> VolumeError {
      VolumeError(.corrupt, "state of a scrub, line \(index + 1): \(problem)")
    }
  }
}
