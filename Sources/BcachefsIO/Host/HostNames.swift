// SPDX-License-Identifier: GPL-2.0
// The names in a directory, sorted, in one block of memory: what a directory of millions needs.
//
// The kernel's records (`struct linux_dirent64`: inode u64, offset u64, record length u16, kind u8,
// name with its NUL) are stripped to their names as they come. A name's record holds its first
// eight bytes as a big-endian number, which decides nearly every comparison of the sort.

#if canImport(Glibc)
internal import Glibc
#endif

/// The sorted names of a directory's children, without `.` and `..`.
public struct HostNames: Sendable {
  private struct Record {
    /// The first 8 bytes, big-endian, zeros behind a shorter name.
    let prefix: UInt64
    let start: Int
    let byteCount: Int
  }

  private var bytes: [UInt8] = []
  private var records: [Record] = []

  init() {}

  public var count: Int { records.count }
  public var isEmpty: Bool { records.isEmpty }
  public var indices: Range<Int> { records.indices }

  /// The name at `index`, in the order of their bytes.
  ///
  /// - Precondition: `index` is one of `indices`.
  @_lifetime(borrow self)
  public func name(at index: Int) -> Span<UInt8> {
    let record = records[index]
    return bytes.span.extracting(record.start..<record.start + record.byteCount)
  }
}

// MARK: - Filling and sorting

extension HostNames {
  /// Where the fields of `struct linux_dirent64` stand.
  private enum Layout {
    static let recordByteCount = 16
    static let name = 19
  }

  /// Adds the names of what one getdents64 call gave.
  ///
  /// - Returns: False if the records contradict each other or the buffer.
  mutating func append(kernelRecords buffer: UnsafeRawBufferPointer) -> Bool {
    var start = 0
    while start < buffer.count {
      guard buffer.count - start > Layout.name else { return false }
      let byteCount = unsafe Int(
        buffer.loadUnaligned(fromByteOffset: start + Layout.recordByteCount, as: UInt16.self))
      guard byteCount > Layout.name, byteCount <= buffer.count - start else { return false }
      let field = unsafe UnsafeRawBufferPointer(
        rebasing: buffer[start + Layout.name..<start + byteCount])
      guard let end = unsafe field.firstIndex(of: 0), end > 0 else { return false }
      unsafe append(name: UnsafeRawBufferPointer(rebasing: field[..<end]))
      start += byteCount
    }
    return true
  }

  private mutating func append(name: UnsafeRawBufferPointer) {
    let dot = UInt8(ascii: ".")
    if unsafe name[0] == dot && (name.count == 1 || name.count == 2 && name[1] == dot) { return }
    var prefix: UInt64 = 0
    for index in 0..<8 {
      let byte = unsafe index < name.count ? name[index] : 0
      prefix = prefix << 8 | UInt64(byte)
    }
    records.append(Record(prefix: prefix, start: bytes.count, byteCount: name.count))
    unsafe bytes.append(contentsOf: name)
  }

  /// Brings the names into the order of their bytes; a name comes before its continuations.
  mutating func sort() {
    unsafe bytes.withUnsafeBytes { bytes in
      records.sort { left, right in
        if left.prefix != right.prefix { return left.prefix < right.prefix }
        guard let base = bytes.baseAddress else { return false }
        let order = unsafe memcmp(
          base + left.start, base + right.start, min(left.byteCount, right.byteCount))
        return order != 0 ? order < 0 : left.byteCount < right.byteCount
      }
    }
  }
}
