// SPDX-License-Identifier: GPL-2.0
// Members of a tar archive: ustar, pax, and GNU tar's, as well as what came before them.
//
// How it works
//   1. A member is a header of 512 bytes and its contents, padded to 512. Before it there may be
//      headers that say more of it: pax records, GNU tar's long names. They are gathered, and laid
//      over what the header says.
//   2. A file with holes is one of four kinds: GNU tar's own header with a map in it and in blocks
//      behind it, or pax records of formats 0.0 and 0.1 (a map in records) and 1.0 (a map at the
//      beginning of the contents). All become ranges of data.
// Invariants
//   (1) Numbers are checked before they are used: a size that is not there is an error when the
//       archive ends, not an allocation.
//   (2) Ranges are ascending, do not touch what is behind the file's size, and have as many bytes
//       together as the contents.
//   (3) Memory is bounded: records of a member by `recordBytesMax`, maps by `rangesMax`.
// Source: POSIX.1-2017, pax; the GNU tar manual, "Basic Tar Format", "Storing Sparse Files".

internal import BcachefsFormat
internal import BcachefsSupport

/// A member with what this program keeps of it.
struct TarEntry {
  var member: TarMember
  /// Nanoseconds since 1970.
  var accessTime: Int64?
  /// The file's size, with its holes.
  var byteCount: UInt64 = 0
  /// Where there are data, in the order of the contents.
  var ranges: [Range<UInt64>] = []
  /// Where its header begins.
  let offset: UInt64
}

final class TarReader {
  /// The most that records before a member may take.
  static let recordBytesMax: UInt64 = 16 << 20
  /// The most that records for all members may take together.
  private static let globalBytesMax: UInt64 = 1 << 16
  /// The most ranges of data that a file may have.
  static let rangesMax = 1 << 20
  private static let block = TarWriter.blockByteCount

  private let input: TarInput
  private var globalRecords: [PaxRecord] = []
  private var globalBytes: UInt64 = 0
  /// Bytes of the member that is under way: contents that were not read, and what pads them.
  private var left: UInt64 = 0
  private var padding: UInt64 = 0

  init(_ input: TarInput) { self.input = input }

  /// Bytes read so far.
  var offset: UInt64 { input.offset }

  /// The next member; nil behind the last one. What was not read of the last one is skipped.
  func next() throws(CommandFailure) -> TarEntry? {
    var extra = Extra()
    while true {
      try input.skip(left)
      try input.skip(padding)
      (left, padding) = (0, 0)
      let start = input.offset
      guard let header = try input.block(Self.block) else {
        throw TarError.failure("it is truncated: it has no end mark", at: start)
      }
      if header.allSatisfy({ $0 == 0 }) {
        guard extra.isEmpty else {
          throw TarError.failure("it ends behind the records of a member", at: start)
        }
        return nil
      }
      guard TarField.isSumRight(header) else {
        throw TarError.failure("a header's checksum is wrong", at: start)
      }
      guard let size = TarField.number(header, 124..<136), size >= 0 else {
        throw TarError.failure("a member's size is no number", at: start)
      }
      switch header[156] {
      case UInt8(ascii: "x"), UInt8(ascii: "X"):
        guard !extra.hasPax else {
          throw TarError.failure("a member has records twice", at: start)
        }
        extra.records = try PaxRecord.parse(try contents(size, start), at: start)
        extra.hasPax = true
      case UInt8(ascii: "g"):
        globalBytes += UInt64(size)
        guard globalBytes <= Self.globalBytesMax else {
          throw TarError.failure("its records for all members take too much", at: start)
        }
        globalRecords += try PaxRecord.parse(try contents(size, start), at: start)
      case UInt8(ascii: "L"): extra.name = Array(try contents(size, start).prefix { $0 != 0 })
      case UInt8(ascii: "K"): extra.target = Array(try contents(size, start).prefix { $0 != 0 })
      case UInt8(ascii: "V"): begin(UInt64(size))
      default:
        return try member(header, UInt64(size), extra, at: start)
      }
    }
  }

  /// Copies the next bytes of the member's contents.
  func read(_ count: Int, into target: HeapBuffer, at start: Int) throws(CommandFailure) {
    invariant(UInt64(count) <= left, "no more is read than a member has")
    try input.read(count, into: target, at: start)
    left -= UInt64(count)
  }

  // MARK: - Headers

  /// What headers before a member say of it.
  private struct Extra {
    var records: [PaxRecord] = []
    var hasPax = false
    var name: [UInt8]?
    var target: [UInt8]?

    var isEmpty: Bool { !hasPax && name == nil && target == nil }
  }

  private func begin(_ size: UInt64) {
    left = size
    let rest = size % UInt64(Self.block)
    padding = rest == 0 ? 0 : UInt64(Self.block) - rest
  }

  /// The contents of a header that says more of the next member.
  private func contents(_ size: Int64, _ start: UInt64) throws(CommandFailure) -> [UInt8] {
    guard UInt64(size) <= Self.recordBytesMax else {
      throw TarError.failure("the records of a member take \(size) bytes", at: start)
    }
    begin(UInt64(size))
    let bytes = try input.bytes(Int(size))
    left = 0
    return bytes
  }

  private func member(
    _ header: [UInt8], _ size: UInt64, _ extra: Extra, at start: UInt64
  ) throws(CommandFailure) -> TarEntry {
    func failure(_ text: String) -> CommandFailure { TarError.failure(text, at: start) }
    let magic = header[257..<263]
    let isPosix = magic.elementsEqual("ustar\0".utf8)
    var name = extra.name ?? TarField.text(header, 0..<100)
    if extra.name == nil, isPosix {
      let prefix = TarField.text(header, 345..<500)
      if !prefix.isEmpty { name = prefix + [UInt8(ascii: "/")] + name }
    }
    let flag = header[156]
    guard let kind = Self.kind(flag, name) else {
      throw failure("\(SafeText.text(name)): a member of an unknown type \(flag)")
    }
    var entry = TarEntry(member: TarMember(name: name, kind: kind), offset: start)
    func field(_ range: Range<Int>, _ what: String) throws(CommandFailure) -> Int64 {
      guard let number = TarField.number(header, range) else {
        throw failure("\(SafeText.text(name)): its \(what) is no number")
      }
      return number
    }
    func small(_ range: Range<Int>, _ what: String) throws(CommandFailure) -> UInt32 {
      guard let number = UInt32(exactly: try field(range, what)) else {
        throw failure("\(SafeText.text(name)): its \(what) is out of range")
      }
      return number
    }
    entry.member.mode = try small(100..<108, "mode") & 0o7777
    entry.member.uid = try small(108..<116, "owner")
    entry.member.gid = try small(116..<124, "group")
    let (time, overflow) = try field(136..<148, "time").multipliedReportingOverflow(
      by: 1_000_000_000)
    guard !overflow else { throw failure("\(SafeText.text(name)): its time is out of range") }
    entry.member.modificationTime = time
    entry.member.linkTarget = extra.target ?? TarField.text(header, 157..<257)
    if kind == .characterDevice || kind == .blockDevice {
      entry.member.major = try small(329..<337, "device number")
      entry.member.minor = try small(337..<345, "device number")
    }
    var records = PaxFields()
    for record in globalRecords + extra.records { try records.add(record, at: start) }
    try records.apply(to: &entry)
    // What has no contents says a size all the same, in some archives.
    let hasContents =
      kind == .regular || kind == .hardLink && extra.hasPax || flag == UInt8(ascii: "D")
    begin(hasContents ? records.size ?? size : 0)
    if kind == .regular {
      try readMap(header, flag, records, &entry)
    }
    return entry
  }

  private static func kind(_ flag: UInt8, _ name: [UInt8]) -> TarMember.Kind? {
    switch flag {
    case 0, UInt8(ascii: "0"), UInt8(ascii: "7"):
      // A directory, before there was a type for it.
      name.last == UInt8(ascii: "/") ? .directory : .regular
    case UInt8(ascii: "S"): .regular
    case UInt8(ascii: "D"): .directory
    default: TarMember.Kind(rawValue: flag).flatMap { $0 == .extendedHeader ? nil : $0 }
    }
  }

  // MARK: - Holes

  private func readMap(
    _ header: [UInt8], _ flag: UInt8, _ records: PaxFields, _ entry: inout TarEntry
  ) throws(CommandFailure) {
    var numbers: [UInt64] = []
    if flag == UInt8(ascii: "S") {
      guard let size = TarField.number(header, 483..<495), size >= 0 else {
        throw Self.badMap(entry)
      }
      entry.byteCount = UInt64(size)
      try readOldMap(header, entry, &numbers)
    } else if records.isSparseInContents {
      guard let size = records.realSize else { throw Self.badMap(entry) }
      entry.byteCount = size
      try readMapInContents(entry, &numbers)
    } else if let map = records.map {
      guard let size = records.realSize else { throw Self.badMap(entry) }
      entry.byteCount = size
      numbers = map
    } else {
      entry.byteCount = left
      if left > 0 { entry.ranges = [0..<left] }
      return
    }
    guard let ranges = Self.ranges(numbers, size: entry.byteCount, contents: left) else {
      throw Self.badMap(entry)
    }
    entry.ranges = ranges
  }

  /// Pairs of offset and length as ranges; nil for what cannot be.
  static func ranges(
    _ numbers: [UInt64], size: UInt64, contents: UInt64
  ) -> [Range<UInt64>]? {
    guard numbers.count % 2 == 0, numbers.count <= 2 * rangesMax else { return nil }
    var result: [Range<UInt64>] = []
    var (end, sum) = (UInt64(0), UInt64(0))
    for index in stride(from: 0, to: numbers.count, by: 2) {
      let start = numbers[index]
      let (next, overflow) = start.addingReportingOverflow(numbers[index + 1])
      guard start >= end, !overflow, next <= size else { return nil }
      end = next
      sum += next - start
      if next > start { result.append(start..<next) }
    }
    return sum == contents ? result : nil
  }

  /// The map of GNU tar's own format: four pairs in the header, 21 in each block behind it.
  private func readOldMap(
    _ header: [UInt8], _ entry: TarEntry, _ numbers: inout [UInt64]
  ) throws(CommandFailure) {
    func add(_ block: [UInt8], _ start: Int, _ count: Int) -> Bool {
      for index in 0..<count {
        let at = start + 24 * index
        if block[at] == 0 { return true }
        guard let offset = TarField.number(block, at..<at + 12),
          let length = TarField.number(block, at + 12..<at + 24), offset >= 0, length >= 0
        else { return false }
        numbers += [UInt64(offset), UInt64(length)]
      }
      return true
    }
    guard add(header, 386, 4) else { throw Self.badMap(entry) }
    var goesOn = header[482] != 0
    while goesOn {
      let block = try input.bytes(Self.block)
      guard add(block, 0, 21), numbers.count <= 2 * Self.rangesMax else {
        throw Self.badMap(entry)
      }
      goesOn = block[504] != 0
    }
  }

  /// The map of format 1.0: decimal lines at the beginning of the contents, padded to 512.
  private func readMapInContents(
    _ entry: TarEntry, _ numbers: inout [UInt64]
  ) throws(CommandFailure) {
    var digits: [UInt8] = []
    var count: UInt64?
    while count.map({ UInt64(numbers.count) < 2 * $0 }) ?? true {
      guard left >= UInt64(Self.block) else { throw Self.badMap(entry) }
      let block = try input.bytes(Self.block)
      left -= UInt64(Self.block)
      for byte in block {
        guard byte == UInt8(ascii: "\n") else {
          digits.append(byte)
          guard digits.count <= 20 else { break }
          continue
        }
        guard let number = TarField.decimal(digits) else { throw Self.badMap(entry) }
        digits = []
        if let count {
          numbers.append(number)
          if UInt64(numbers.count) == 2 * count { break }
        } else {
          guard number <= UInt64(Self.rangesMax) else { throw Self.badMap(entry) }
          count = number
          if number == 0 { break }
        }
      }
      guard digits.count <= 20 else { throw Self.badMap(entry) }
    }
  }

  private static func badMap(_ entry: TarEntry) -> CommandFailure {
    TarError.failure(
      "\(SafeText.text(entry.member.name)): the map of its holes makes no sense", at: entry.offset)
  }
}
