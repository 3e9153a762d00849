// SPDX-License-Identifier: GPL-2.0
// The pax interchange format: members with everything that a filesystem keeps.
//
// How it works
//   1. A member is a ustar header of 512 bytes and its contents, padded to 512. What the header has
//      no room for stands in records of an extended header before it: long names and those that are
//      not ASCII, large numbers, nanoseconds, extended attributes (SCHILY.xattr.NAME, as GNU tar,
//      libarchive and star read them).
//   2. A file with holes is a GNU sparse file of format 1.0: its contents begin with a map in
//      decimal lines (number of ranges, then offset and length of each), padded to 512; then only
//      data follow.
// Invariants
//   (1) Every member takes a multiple of 512 bytes; the archive ends with two blocks of zeros.
//   (2) Memory does not depend on the sizes of files.
// Source: POSIX.1-2017, pax; the GNU tar manual, "Storing Sparse Files".

internal import BcachefsFormat
internal import BcachefsSupport

/// One member of an archive, but for its contents.
struct TarMember {
  /// `typeflag` of the header.
  enum Kind: UInt8 {
    case regular = 0x30
    case hardLink = 0x31
    case symbolicLink = 0x32
    case characterDevice = 0x33
    case blockDevice = 0x34
    case directory = 0x35
    case fifo = 0x36
    case extendedHeader = 0x78
  }

  var name: [UInt8]
  var kind: Kind
  /// Permissions, without the type.
  var mode: UInt32 = 0o644
  var uid: UInt32 = 0
  var gid: UInt32 = 0
  /// Nanoseconds since 1970.
  var modificationTime: Int64 = 0
  /// Bytes that follow the header.
  var contentByteCount: UInt64 = 0
  var linkTarget: [UInt8] = []
  var major: UInt32 = 0
  var minor: UInt32 = 0
  var xattrs: [(name: [UInt8], value: [UInt8])] = []
  /// More records, as they are.
  var records: [(key: String, value: [UInt8])] = []
}

struct TarWriter {
  static let blockByteCount = 512
  private let output: ByteOutput

  init(_ output: ByteOutput) { self.output = output }

  // MARK: - Members

  /// Writes the header of a member, and before it one with what it has no room for.
  func begin(_ member: TarMember) throws(CommandFailure) {
    var member = member
    var records = member.records
    var needsBinary = false
    let field = Self.nameField(member.name)
    if field == nil && !member.records.contains(where: { $0.key == "GNU.sparse.name" }) {
      records.append(("path", member.name))
      needsBinary = needsBinary || !Self.isUTF8(member.name)
    }
    if member.linkTarget.count > 100 || !Self.isASCII(member.linkTarget) {
      records.append(("linkpath", member.linkTarget))
      needsBinary = needsBinary || !Self.isUTF8(member.linkTarget)
    }
    let (seconds, nanoseconds) = FileText.split(member.modificationTime)
    if nanoseconds != 0 || seconds < 0 || seconds >= 1 << 33 {
      records.append(("mtime", Array(Self.decimal(member.modificationTime).utf8)))
    }
    if member.contentByteCount >= 1 << 33 {
      records.append(("size", Array("\(member.contentByteCount)".utf8)))
    }
    if member.uid >= 1 << 21 { records.append(("uid", Array("\(member.uid)".utf8))) }
    if member.gid >= 1 << 21 { records.append(("gid", Array("\(member.gid)".utf8))) }
    for xattr in member.xattrs {
      records.append(("SCHILY.xattr." + Self.xattrKey(xattr.name), xattr.value))
    }
    if needsBinary { records.insert(("hdrcharset", Array("BINARY".utf8)), at: 0) }
    if !records.isEmpty { try writeExtended(records, of: member) }
    member.name = field ?? Self.shortName(member.name)
    try output.write(Self.header(member))
  }

  /// Fills up the last block of a member's contents.
  func pad(after contentByteCount: UInt64) throws(CommandFailure) {
    let rest = Int(contentByteCount % UInt64(Self.blockByteCount))
    if rest > 0 { try output.zeros(Self.blockByteCount - rest) }
  }

  /// The end of the archive, padded to the 10 KiB that tapes want.
  func finish() throws(CommandFailure) {
    try output.zeros(2 * Self.blockByteCount)
    let rest = Int(output.byteCount % 10240)
    if rest > 0 { try output.zeros(10240 - rest) }
    try output.flush()
  }

  // MARK: - Sparse files

  /// Makes a member of a file that has data in `ranges` only.
  ///
  /// - Returns: The map that its contents begin with.
  static func makeSparse(
    _ member: inout TarMember, size: UInt64, ranges: [Range<UInt64>]
  ) -> [UInt8] {
    var map = "\(ranges.count + 1)\n"
    var dataByteCount: UInt64 = 0
    for range in ranges {
      map += "\(range.lowerBound)\n\(range.upperBound - range.lowerBound)\n"
      dataByteCount += range.upperBound - range.lowerBound
    }
    // An empty range at the end says how long the file is.
    map += "\(size)\n0\n"
    var bytes = Array(map.utf8)
    let rest = bytes.count % blockByteCount
    if rest > 0 { bytes += [UInt8](repeating: 0, count: blockByteCount - rest) }
    member.contentByteCount = UInt64(bytes.count) + dataByteCount
    member.records += [
      ("GNU.sparse.major", Array("1".utf8)), ("GNU.sparse.minor", Array("0".utf8)),
      ("GNU.sparse.name", member.name), ("GNU.sparse.realsize", Array("\(size)".utf8)),
    ]
    if !isUTF8(member.name) { member.records.insert(("hdrcharset", Array("BINARY".utf8)), at: 0) }
    let slash = UInt8(ascii: "/")
    let base = member.name.split(separator: slash).last.map(Array.init) ?? []
    let folder = member.name.dropLast(base.count)
    member.name = folder + Array("GNUSparseFile.0/".utf8) + base
    return bytes
  }

  // MARK: - Headers

  private func writeExtended(
    _ records: [(key: String, value: [UInt8])], of member: TarMember
  ) throws(CommandFailure) {
    var body: [UInt8] = []
    for record in records { body += Self.record(record.key, record.value) }
    var header = TarMember(
      name: Self.shortName(Array("PaxHeaders/".utf8) + member.name.suffix(80)),
      kind: .extendedHeader)
    header.contentByteCount = UInt64(body.count)
    // Whole seconds that fit: the records say better.
    header.modificationTime = max(0, min(member.modificationTime, 8_589_934_591 * 1_000_000_000))
    try output.write(Self.header(header))
    try output.write(body)
    try pad(after: UInt64(body.count))
  }

  /// `LENGTH KEY=VALUE\n`, where the length counts itself.
  static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
    let rest = key.utf8.count + value.count + 3
    var length = rest + "\(rest)".utf8.count
    length = rest + "\(length)".utf8.count
    return Array("\(length) \(key)=".utf8) + value + [UInt8(ascii: "\n")]
  }

  private static func header(_ member: TarMember) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: blockByteCount)
    put(member.name.prefix(100), at: 0, &bytes)
    put(octal(UInt64(member.mode & 0o7777), 7), at: 100, &bytes)
    put(octal(UInt64(member.uid), 7), at: 108, &bytes)
    put(octal(UInt64(member.gid), 7), at: 116, &bytes)
    put(octal(member.contentByteCount, 11), at: 124, &bytes)
    let seconds = FileText.split(member.modificationTime).seconds
    put(octal(UInt64(max(seconds, 0)), 11), at: 136, &bytes)
    bytes[156] = member.kind.rawValue
    put(member.linkTarget.prefix(100), at: 157, &bytes)
    put(Array("ustar".utf8) + [0] + Array("00".utf8), at: 257, &bytes)
    put(octal(UInt64(member.major), 7), at: 329, &bytes)
    put(octal(UInt64(member.minor), 7), at: 337, &bytes)
    // The sum is taken with spaces in its own place.
    put(repeatElement(UInt8(ascii: " "), count: 8), at: 148, &bytes)
    let sum = bytes.reduce(0) { $0 + UInt64($1) }
    put(octal(sum, 6) + [0, UInt8(ascii: " ")], at: 148, &bytes)
    return bytes
  }

  private static func put(
    _ source: some Collection<UInt8>, at offset: Int, _ bytes: inout [UInt8]
  ) {
    var index = offset
    for byte in source {
      bytes[index] = byte
      index += 1
    }
  }

  /// Octal digits; 0 for what does not fit, which a record says then.
  private static func octal(_ value: UInt64, _ digits: Int) -> [UInt8] {
    let text = String(value, radix: 8)
    let fitting = text.utf8.count <= digits ? text : "0"
    return [UInt8](repeating: UInt8(ascii: "0"), count: digits - fitting.utf8.count)
      + Array(fitting.utf8)
  }

  /// `-1.5` for half a second before the last second of 1969.
  static func decimal(_ nanoseconds: Int64) -> String {
    let magnitude = nanoseconds.magnitude
    let sign = nanoseconds < 0 ? "-" : ""
    let fraction = Int(magnitude % 1_000_000_000)
    let whole = "\(sign)\(magnitude / 1_000_000_000)"
    return fraction == 0 ? whole : "\(whole).\(FileText.padded(fraction, 9))"
  }

  // MARK: - Names

  /// The name if the header can hold it, nil if it needs a record.
  private static func nameField(_ name: [UInt8]) -> [UInt8]? {
    name.count <= 100 && isASCII(name) ? name : nil
  }

  /// What the header says where a record says better: the end of the name.
  private static func shortName(_ name: [UInt8]) -> [UInt8] { Array(name.suffix(100)) }

  private static func isASCII(_ bytes: [UInt8]) -> Bool { bytes.allSatisfy { $0 < 0x80 } }

  private static func isUTF8(_ bytes: [UInt8]) -> Bool {
    String(validating: bytes, as: UTF8.self) != nil
  }

  /// An attribute's name as GNU tar writes it: `=` would end the key.
  static func xattrKey(_ name: [UInt8]) -> String {
    var key = ""
    for scalar in String(decoding: name, as: UTF8.self).unicodeScalars {
      switch scalar {
      case "%": key += "%25"
      case "=": key += "%3D"
      default: key.unicodeScalars.append(scalar)
      }
    }
    return key
  }
}
