// SPDX-License-Identifier: GPL-2.0
// Btree nodes of real volumes, mutated: a minimal reader walks them, and must never trap.
//
// How it works
//   A node is its header with the first bset, then, at the next whole block, further bsets with a
//   short header and a checksum each, as long as they carry the node's sequence number.
// Invariants
//   (1) The walk looks at the node's bytes only, and ends: every bset takes a block at least.

internal import BcachefsFormat
internal import BcachefsSupport

/// Walks all bsets of a node.
enum NodeWalk {
  /// - Parameters:
  ///   - bytes: What of the node was written.
  ///   - verifying: Whether checksums must be right, and keys in order.
  ///   - body: Called with each key and its value, in the order on disk.
  static func walk(
    _ bytes: RawSpan, blockBytes: Int, verifying: Bool,
    _ body: (BKey, RawSpan) throws(FormatError) -> Void
  ) throws(FormatError) {
    let header = try BTreeNodeHeader(decoding: bytes)
    var start = 0
    while start < bytes.byteCount {
      let headerBytes =
        start == 0 ? BTreeNodeHeader.Layout.keys : BTreeNodeHeader.EntryLayout.keys
      guard bytes.byteCount - start >= headerBytes else { return }
      let bset = BSetHeader(decoding: bytes, at: start + headerBytes - BSetHeader.Layout.byteCount)
      guard bset.sequence == header.bset.sequence else { return }
      let end = start + headerBytes + Int(bset.u64s) * 8
      guard end <= bytes.byteCount else {
        throw FormatError(.truncated, "bset", "u64s", found: UInt64(bset.u64s))
      }
      if verifying { try verify(bytes.extracting(start..<end), bset) }
      try walkKeys(
        bytes.extracting(start + headerBytes..<end), header.format, verifying: verifying, body)
      start = (end + blockBytes - 1) / blockBytes * blockBytes
    }
  }

  private static func walkKeys(
    _ keys: RawSpan, _ format: BKeyFormat, verifying: Bool,
    _ body: (BKey, RawSpan) throws(FormatError) -> Void
  ) throws(FormatError) {
    var iterator = PackedKeyIterator(keys: keys, format: format)
    var last: BPos?
    while let entry = try iterator.nextEntry() {
      let valueEnd = entry.valueByteOffset + entry.key.valueByteCount
      try body(entry.key, keys.extracting(entry.valueByteOffset..<valueEnd))
      if verifying, let last, entry.key.position <= last {
        throw FormatError(.outOfOrder, "bset", "key")
      }
      last = entry.key.position
    }
  }

  /// The checksum of a node's or entry's bytes.
  static func checksum(_ bytes: RawSpan, _ bset: BSetHeader) throws(FormatError) -> Checksum128 {
    let type = ChecksumType(rawValue: bset.checksumType)
    do throws(ChecksumError) {
      return try type.checksum(bytes.extracting(16..<bytes.byteCount))
    } catch {
      throw FormatError(.unsupported, "bset", "csum_type", found: UInt64(type.rawValue))
    }
  }

  private static func verify(_ bytes: RawSpan, _ bset: BSetHeader) throws(FormatError) {
    let stored = Checksum128(lo: bytes[LEField<UInt64>(0)], hi: bytes[LEField<UInt64>(8)])
    let computed = try checksum(bytes, bset)
    guard stored.matches(computed) else {
      throw FormatError(.badChecksum, "bset", found: stored.lo, expected: computed.lo)
    }
  }
}

/// Mutated nodes.
final class NodeFuzzer: Fuzzer {
  private let small: [NodeSample]
  private let large: [NodeSample]
  private static let smallBytes = 8192

  init(_ corpus: Corpus) throws(FuzzFailure) {
    let nodes = try corpus.volumes().nodes
    small = nodes.filter { $0.bytes.count <= Self.smallBytes }
    large = nodes.filter { $0.bytes.count > Self.smallBytes }
    try check(!small.isEmpty && !large.isEmpty, "nodes of all sizes")
  }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let sample = random.oneIn(32) ? random.pick(large) : random.pick(small)
    var bytes = sample.bytes
    let used = min(
      bytes.count,
      BTreeNodeHeader.Layout.keys
        + Int(BSetHeader(decoding: bytes.rawBytes, at: BTreeNodeHeader.Layout.bset).u64s) * 8)
    switch random.below(4) {
    case 0: Mutator.change(&bytes, in: 16..<BTreeNodeHeader.Layout.keys, most: 4, &random)
    case 1: Mutator.change(&bytes, in: 0..<bytes.count, most: 8, &random)
    default:
      Mutator.change(
        &bytes, in: min(BTreeNodeHeader.Layout.keys, used - 1)..<used, most: 8, &random)
    }
    if random.oneIn(16) { Mutator.changeLength(&bytes, unit: 1, &random) }
    let verifying = random.oneIn(4)
    if verifying { Self.seal(&bytes) }
    let level = random.below(2)
    let isPrinting = random.oneIn(16)
    let btree = BTreeID(rawValue: UInt8(random.below(24)))
    var count = 0
    _ = mayFail { () throws(FormatError) in
      try NodeWalk.walk(bytes.rawBytes, blockBytes: sample.blockBytes, verifying: verifying) {
        (key, value) throws(FormatError) in
        count += 1
        _ = mayFail { () throws(FormatError) in
          try BKeyValue.validate(key: key, value: value, btree: btree, level: level)
        }
        if isPrinting, count < 64 {
          _ = BKeyValue.text(key: key, value: value, context: sampleContext)
        }
      }
    }
    try check(count <= bytes.count / 8, "\(count) keys in \(bytes.count) bytes")
  }

  /// Puts the first bset's checksum right, if there is one to be put right.
  private static func seal(_ bytes: inout [UInt8]) {
    guard bytes.count >= BTreeNodeHeader.Layout.keys else { return }
    let bset = BSetHeader(decoding: bytes.rawBytes, at: BTreeNodeHeader.Layout.bset)
    let end = BTreeNodeHeader.Layout.keys + Int(bset.u64s) * 8
    guard end <= bytes.count else { return }
    let checksum = mayFail { () throws(FormatError) in
      try NodeWalk.checksum(bytes.rawBytes.extracting(0..<end), bset)
    }
    guard let checksum else { return }
    bytes.put(checksum.lo, at: 0)
    bytes.put(checksum.hi, at: 8)
  }
}
