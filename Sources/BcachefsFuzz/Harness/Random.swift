// SPDX-License-Identifier: GPL-2.0
// Numbers and bytes that tend to break things, and mutation of bytes that are right.

internal import BcachefsSupport

extension Xoshiro256 {
  /// Uniform in 0 ..< `bound`; 0 for a bound of 0 or less.
  @inline(__always)
  mutating func below(_ bound: Int) -> Int {
    guard bound > 0 else { return 0 }
    return Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// True once in `count` times.
  @inline(__always)
  mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }

  @inline(__always)
  mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next() >> 56) }

  /// A number of a random width: small ones are as likely as large ones.
  @inline(__always)
  mutating func anyWidth() -> UInt64 { next() >> UInt64(below(64)) }

  /// At most `max`, of a random width, limits included.
  mutating func upTo(_ max: UInt64) -> UInt64 {
    if oneIn(8) { return oneIn(2) ? max : max &- (max > 0 ? 1 : 0) }
    if max == .max { return anyWidth() }
    return Swift.min(anyWidth() % (max &+ 1), max)
  }

  /// A number next to a limit, or any.
  mutating func interesting() -> UInt64 {
    switch below(8) {
    case 0: return 0
    case 1: return UInt64.max >> UInt64(below(64))
    case 2: return (1 << UInt64(below(64))) as UInt64
    case 3: return ((1 << UInt64(below(64))) as UInt64) &- 1
    case 4: return UInt64(below(20))
    case 5: return 0 &- UInt64(below(20))
    default: return anyWidth()
    }
  }

  mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }

  /// Fills `bytes` from `start` on.
  mutating func fill(_ bytes: inout [UInt8], from start: Int = 0) {
    var index = start
    while index < bytes.count {
      var word = next()
      for _ in 0..<Swift.min(8, bytes.count - index) {
        bytes[index] = UInt8(truncatingIfNeeded: word)
        word >>= 8
        index += 1
      }
    }
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    fill(&result)
    return result
  }

  /// Bytes that compress: runs, repetitions and noise.
  mutating func compressibleBytes(_ count: Int) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count)
    while result.count < count {
      let length = Swift.min(count - result.count, 1 + below(64))
      switch below(3) {
      case 0: result.append(contentsOf: repeatElement(byte(), count: length))
      case 1 where result.count > length:
        let start = below(result.count - length)
        result.append(contentsOf: Array(result[start..<start + length]))
      default: for _ in 0..<length { result.append(byte() & 0x3f) }
      }
    }
    return result
  }

  /// Text of characters that parsers look for.
  mutating func text(of alphabet: [Character], maxCount: Int) -> String {
    var text = ""
    for _ in 0..<below(maxCount + 1) { text.append(pick(alphabet)) }
    return text
  }
}

/// Changes bytes in ways that find bugs in decoders.
enum Mutator {
  /// Changes up to `most` places; the length stays.
  static func change(
    _ bytes: inout [UInt8], in range: Range<Int>, most: Int, _ random: inout Xoshiro256
  ) {
    guard !range.isEmpty else { return }
    for _ in 0..<(1 + random.below(most)) { changeOnce(&bytes, in: range, &random) }
  }

  private static func changeOnce(
    _ bytes: inout [UInt8], in range: Range<Int>, _ random: inout Xoshiro256
  ) {
    let at = range.lowerBound + random.below(range.count)
    switch random.below(10) {
    case 0, 1: bytes[at] ^= 1 << UInt8(random.below(8))
    case 2, 3: bytes[at] = random.byte()
    case 4: bytes[at] = random.oneIn(2) ? 0xff : 0
    case 5: bytes[at] = bytes[at] &+ (random.oneIn(2) ? 1 : 0xff)
    case 6, 7:
      let width = [2, 4, 8][random.below(3)]
      put(random.interesting(), width: width, at: at / width * width, in: &bytes, range)
    case 8:
      let length = Swift.min(range.upperBound - at, 1 + random.below(32))
      let from = range.lowerBound + random.below(range.count - length + 1)
      let copy = Array(bytes[from..<from + length])
      bytes.replaceSubrange(at..<at + length, with: copy)
    default:
      let value: UInt8 = random.oneIn(2) ? 0 : random.byte()
      let length = Swift.min(range.upperBound - at, 1 + random.below(16))
      for index in at..<at + length { bytes[index] = value }
    }
  }

  /// Stores a little-endian number, as far as it lies in `range`.
  static func put(
    _ value: UInt64, width: Int, at offset: Int, in bytes: inout [UInt8], _ range: Range<Int>
  ) {
    for index in 0..<width where range.contains(offset + index) {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
    }
  }

  /// Cuts off an end, or adds one.
  static func changeLength(_ bytes: inout [UInt8], unit: Int, _ random: inout Xoshiro256) {
    if random.oneIn(2) {
      let units = bytes.count / unit
      bytes.removeLast(bytes.count - random.below(units + 1) * unit)
    } else {
      bytes += random.bytes((1 + random.below(8)) * unit)
    }
  }
}

extension [UInt8] {
  /// Stores a little-endian number where it fits.
  mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
    for index in 0..<(Value.bitWidth / 8) where offset + index < count {
      self[offset + index] = UInt8(truncatingIfNeeded: value >> Value(8 * index))
    }
  }
}

extension RawSpan {
  /// All bytes, copied.
  func copied() -> [UInt8] {
    unsafe withUnsafeBytes { unsafe [UInt8]($0) }
  }
}
