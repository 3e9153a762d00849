// SPDX-License-Identifier: GPL-2.0
// Where names stand in their btrees: dirents and xattrs are keyed by a hash of the name.
//
// How it works
//   1. Each inode has a seed and a hash type; the hash of a name is the key's offset.
//   2. Collisions probe linearly: a name stands at the first free offset from its hash on, so a
//      lookup walks from the hash to the first hole.
//   3. For a directory built at once, `slots` sorts by hash and gives each name the larger of its
//      hash and the slot after its predecessor: the same table that insertions would have made.
// Invariants
//   (1) Between a name's hash and its slot there is no hole.
//   (2) Offsets 0 and 1 are never used for dirents: readdir gives them to "." and "..".
// Source: str_hash.h, dirent.c (bch2_dirent_hash), xattr.c (bch2_xattr_hash).

internal import BcachefsFormat
internal import BcachefsSupport

struct NameHash {
  private let type: StringHashType
  private let k0: UInt64
  private let k1: UInt64
  /// What remains of a dirent's hash.
  private let direntMask: UInt64

  /// - Parameter is31Bit: Whether hashes of dirents are cut to 31 bits.
  init(type: StringHashType, seed: UInt64, is31Bit: Bool = false) {
    self.type = type
    direntMask = is31Bit ? 0x7fff_ffff : .max
    if type == .siphashOld {
      (k0, k1) = SHA256.sipHashKey(seed: seed)
    } else {
      k0 = seed
      k1 = 0
    }
  }

  /// What hashes the names in a directory, or those of an inode's attributes.
  init(_ inode: Inode) {
    self.init(
      type: StringHashType(rawValue: inode.stringHash), seed: inode.hashSeed,
      is31Bit: inode.flags.contains(.direntOffset31Bit))
  }

  /// The hash of a name in a directory; `name` is not empty.
  func dirent(_ name: Span<UInt8>) -> UInt64 { dirent(name.rawBytes) }

  func dirent(_ name: RawSpan) -> UInt64 { max(hash(name, first: nil) & direntMask, 2) }

  /// The hash of an extended attribute's name within its namespace.
  func xattr(type xattrType: UInt8, _ name: Span<UInt8>) -> UInt64 {
    xattr(type: xattrType, name.rawBytes)
  }

  func xattr(type xattrType: UInt8, _ name: RawSpan) -> UInt64 { hash(name, first: xattrType) }

  private func hash(_ bytes: RawSpan, first: UInt8?) -> UInt64 {
    switch type {
    case .crc32c:
      return UInt64(
        seeded(first) { (seed, prefix) in
          CRC32C.update(CRC32C.update(~0, prefix.extracting(0..<seed)), bytes)
        })
    case .crc64:
      return seeded(first) { (seed, prefix) in
        CRC64.update(CRC64.update(~0, prefix.extracting(0..<seed)), bytes)
      } >> 1
    default:
      guard let first else { return SipHash24.hash(bytes, k0: k0, k1: k1) >> 1 }
      return SipHash24.driverHash(first: first, then: bytes, k0: k0, k1: k1) >> 1
    }
  }

  /// Calls `body` with the bytes that a crc starts with: the seed, and the namespace if any.
  private func seeded<Result>(_ first: UInt8?, _ body: (Int, RawSpan) -> Result) -> Result {
    var prefix = InlineArray<9, UInt8>(repeating: first ?? 0)
    for index in 0..<8 { prefix[index] = UInt8(truncatingIfNeeded: k0 >> UInt64(index * 8)) }
    return body(first == nil ? 8 : 9, prefix.rawBytes)
  }

  /// Slots for names that are hashed already.
  ///
  /// - Parameter hashes: ascending.
  static func slots(forSorted hashes: [UInt64]) -> [UInt64] {
    var result: [UInt64] = []
    result.reserveCapacity(hashes.count)
    for hash in hashes {
      if let last = result.last, hash <= last {
        result.append(last + 1)
      } else {
        result.append(hash)
      }
    }
    return result
  }
}
