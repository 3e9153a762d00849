// SPDX-License-Identifier: GPL-2.0
// Records of extended headers: what a member has that a header has no room for.
//
// Invariants
//   (1) Keys that are not known say nothing; values that make no sense for a known one are errors.
//   (2) What a member may have is bounded: attributes, ranges, bytes of records.
// Source: POSIX.1-2017, pax, "pax Extended Header"; the GNU tar manual; the libarchive manual,
// tar(5), for its own and star's keys.

internal import BcachefsFormat
internal import BcachefsSupport

/// `LENGTH KEY=VALUE\n`
struct PaxRecord {
  let key: [UInt8]
  let value: [UInt8]

  /// Takes the contents of a header apart.
  static func parse(
    _ bytes: [UInt8], at offset: UInt64
  ) throws(CommandFailure) -> [PaxRecord] {
    var records: [PaxRecord] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      guard let space = rest.prefix(20).firstIndex(of: UInt8(ascii: " ")),
        let length = TarField.decimal(rest[..<space]).flatMap({ Int(exactly: $0) }),
        length <= rest.count, rest.startIndex + length > space + 1
      else { throw malformed(offset) }
      let end = rest.startIndex + length
      let body = rest[(space + 1)..<(end - 1)]
      guard rest[end - 1] == UInt8(ascii: "\n"),
        let equals = body.firstIndex(of: UInt8(ascii: "="))
      else { throw malformed(offset) }
      records.append(
        PaxRecord(key: Array(body[..<equals]), value: Array(body[(equals + 1)...])))
      rest = rest[end...]
    }
    return records
  }

  private static func malformed(_ offset: UInt64) -> CommandFailure {
    TarError.failure("the records of a member are malformed", at: offset)
  }
}

/// What records say of one member, later ones over earlier ones.
struct PaxFields {
  /// The most attributes that a member may have; more than a file can list.
  private static let xattrsMax = 4096

  private(set) var size: UInt64?
  /// With its holes.
  private(set) var realSize: UInt64?
  /// Offsets and lengths of data, in turn.
  private(set) var map: [UInt64]?
  private var majorFormat: UInt64?
  private var name: [UInt8]?
  private var sparseName: [UInt8]?
  private var target: [UInt8]?
  private var uid: UInt32?
  private var gid: UInt32?
  private var modificationTime: Int64?
  private var accessTime: Int64?
  private var xattrs: [(name: [UInt8], value: [UInt8])] = []
  private var accessText: [UInt8]?
  private var defaultText: [UInt8]?

  /// Whether the contents begin with a map.
  var isSparseInContents: Bool { majorFormat == 1 }

  /// - Throws: for a value that makes no sense for its key.
  mutating func add(_ record: PaxRecord, at offset: UInt64) throws(CommandFailure) {
    let key = String(decoding: record.key, as: UTF8.self)
    let value = record.value
    func number() throws(CommandFailure) -> UInt64 {
      guard let number = TarField.decimal(value) else { throw Self.bad(record, offset) }
      return number
    }
    func size() throws(CommandFailure) -> UInt64 {
      let number = try number()
      guard number <= UInt64(Int64.max) else { throw Self.bad(record, offset) }
      return number
    }
    func id() throws(CommandFailure) -> UInt32 {
      guard let id = UInt32(exactly: try number()) else { throw Self.bad(record, offset) }
      return id
    }
    func time() throws(CommandFailure) -> Int64 {
      guard let time = TarField.time(value) else { throw Self.bad(record, offset) }
      return time
    }
    switch key {
    case "path": name = value
    case "linkpath": target = value
    case "size": self.size = try size()
    case "uid": uid = try id()
    case "gid": gid = try id()
    case "mtime": modificationTime = try time()
    case "atime": accessTime = try time()
    case "SCHILY.acl.access": accessText = value
    case "SCHILY.acl.default": defaultText = value
    case "RHT.security.selinux": try setXattr(Array("security.selinux".utf8), value, offset)
    case "GNU.sparse.major": majorFormat = try number()
    case "GNU.sparse.name": sparseName = value
    case "GNU.sparse.realsize", "GNU.sparse.size": realSize = try size()
    case "GNU.sparse.numblocks": map = []
    case "GNU.sparse.offset", "GNU.sparse.numbytes":
      guard (map?.count ?? 0) < 2 * TarReader.rangesMax else { throw Self.bad(record, offset) }
      if map == nil { map = [] }
      map?.append(try size())
    case "GNU.sparse.map":
      var numbers: [UInt64] = []
      for part in value.split(separator: UInt8(ascii: ",")) {
        guard let number = TarField.decimal(part) else { throw Self.bad(record, offset) }
        numbers.append(number)
      }
      map = numbers
    default: try addAttribute(key, record, offset)
    }
  }

  private mutating func addAttribute(
    _ key: String, _ record: PaxRecord, _ offset: UInt64
  ) throws(CommandFailure) {
    let schily = "SCHILY.xattr.", archive = "LIBARCHIVE.xattr."
    if key.hasPrefix(schily) {
      try setXattr(
        Self.unescaped(record.key.dropFirst(schily.utf8.count)), record.value, offset)
    } else if key.hasPrefix(archive) {
      guard let value = Base64.bytes(record.value) else { throw Self.bad(record, offset) }
      try setXattr(Self.unescaped(record.key.dropFirst(archive.utf8.count)), value, offset)
    }
  }

  private mutating func setXattr(
    _ name: [UInt8], _ value: [UInt8], _ offset: UInt64
  ) throws(CommandFailure) {
    xattrs.removeAll { $0.name == name }
    guard xattrs.count < Self.xattrsMax else {
      throw TarError.failure("a member has more than \(Self.xattrsMax) attributes", at: offset)
    }
    xattrs.append((name, value))
  }

  /// `%3D` is what a key has for `=`.
  private static func unescaped(_ name: some Collection<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    var rest = Array(name)[...]
    while let byte = rest.popFirst() {
      let digits = String(decoding: rest.prefix(2), as: UTF8.self)
      if byte == UInt8(ascii: "%"), digits.utf8.count == 2, let value = UInt8(digits, radix: 16) {
        result.append(value)
        rest = rest.dropFirst(2)
      } else {
        result.append(byte)
      }
    }
    return result
  }

  /// Lays what was said over what the header said.
  func apply(to entry: inout TarEntry) throws(CommandFailure) {
    if let name = sparseName ?? name { entry.member.name = name }
    if let target { entry.member.linkTarget = target }
    if let uid { entry.member.uid = uid }
    if let gid { entry.member.gid = gid }
    if let modificationTime { entry.member.modificationTime = modificationTime }
    entry.accessTime = accessTime
    entry.member.xattrs = xattrs.filter { NewAttributes.isKept($0.name) }
    let lists = [
      (accessText, NewAttributes.accessList), (defaultText, NewAttributes.defaultList),
    ]
    for (text, name) in lists {
      guard let text, !text.isEmpty, !entry.member.xattrs.contains(where: { $0.name == name })
      else { continue }
      guard let value = AccessListText.value(String(decoding: text, as: UTF8.self)) else {
        throw TarError.failure(
          "\(SafeText.text(entry.member.name)): its ACL is none", at: entry.offset)
      }
      entry.member.xattrs.append((name, value))
    }
  }

  private static func bad(_ record: PaxRecord, _ offset: UInt64) -> CommandFailure {
    let (key, value) = (SafeText.text(record.key), SafeText.text(record.value.prefix(60)))
    return TarError.failure("the record \(key)=\(value) makes no sense", at: offset)
  }
}
