// SPDX-License-Identifier: GPL-2.0
// Names that crc32c gives the hash that a test wants.
//
// A CRC is affine: what a bit of the name changes in it does not depend on the others. So the bits
// of a name that may be chosen, the lower four of each byte, are brought into echelon form once; a
// hash is then a sum of some of them, and those whose sum is zero give any number of names for it.

public import BcachefsSupport

/// Makes names of given crc32c hashes, for directories with one hash seed.
public struct NamesOfHash: Sendable {
  private static let byteCount = 40

  private let seed: UInt64
  /// By highest bit of what they change: bits of the name.
  private var basis = [(change: UInt32, bits: [UInt8])?](repeating: nil, count: 32)
  private var neutral: [[UInt8]] = []

  /// - Parameter seed: `Inode.hashSeed` of the directory.
  public init(seed: UInt64) {
    self.seed = seed
    let zero = hash(Self.name([UInt8](repeating: 0, count: Self.byteCount)))
    for bit in 0..<Self.byteCount * 4 {
      var bits = [UInt8](repeating: 0, count: Self.byteCount)
      bits[bit / 4] = 1 << UInt8(bit % 4)
      var change = hash(Self.name(bits)) ^ zero
      while change != 0 {
        let top = 31 - change.leadingZeroBitCount
        guard let known = basis[top] else {
          basis[top] = (change, bits)
          break
        }
        change ^= known.change
        bits = Self.sum(bits, known.bits)
      }
      if change == 0 { neutral.append(bits) }
    }
  }

  /// As the driver hashes names with crc32c.
  public func hash(_ name: [UInt8]) -> UInt32 {
    let start = (0..<8).map { UInt8(truncatingIfNeeded: seed >> UInt64($0 * 8)) }
    return CRC32C.update(CRC32C.update(~0, start.rawBytes), name.rawBytes)
  }

  /// A name with a hash; another one each time.
  public func name(of hash: UInt32, _ random: inout SplitMix64) -> [UInt8] {
    var bits = [UInt8](repeating: 0, count: Self.byteCount)
    for other in neutral where random.next() % 2 == 0 { bits = Self.sum(bits, other) }
    var change = self.hash(Self.name(bits)) ^ hash
    while change != 0, let known = basis[31 - change.leadingZeroBitCount] {
      change ^= known.change
      bits = Self.sum(bits, known.bits)
    }
    return Self.name(bits)
  }

  private static func name(_ bits: [UInt8]) -> [UInt8] { bits.map { 0x60 | $0 } }

  private static func sum(_ a: [UInt8], _ b: [UInt8]) -> [UInt8] { zip(a, b).map { $0 ^ $1 } }
}
