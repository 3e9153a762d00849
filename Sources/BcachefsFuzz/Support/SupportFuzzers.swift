// SPDX-License-Identifier: GPL-2.0
// Compression, checksums, ciphers and parity: mutated streams, and pieces beside the whole.
//
// Invariants
//   (1) A decompressor writes nothing outside its destination, whatever the stream.
//   (2) Doing a thing in pieces gives what doing it at once gives.

internal import BcachefsSupport

/// Decompressors.
final class CompressionFuzzer: Fuzzer {
  private let compressor = Compressor()
  private let decompressor = Decompressor()
  private static let guardBytes = 64

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let algorithm = random.pick(CompressionAlgorithm.allCases)
    let data = random.compressibleBytes(1 + random.below(random.oneIn(16) ? 65536 : 2048))
    var stream = [UInt8](repeating: 0, count: data.count + 64)
    let level = random.oneIn(8) ? random.below(6) : 1
    var span = stream.mutableRawBytes
    let written = compressor.compress(
      data.rawBytes, into: &span, algorithm: algorithm, level: level)
    if let written {
      // What follows in the last block is zero.
      stream.removeLast(stream.count - written)
      if random.oneIn(2) { stream += [UInt8](repeating: 0, count: random.below(512)) }
      let result = try decompress(stream, data.count, algorithm)
      try check(
        result == data, "\(algorithm) level \(level): \(difference(result ?? [], data))")
    } else {
      stream = random.bytes(stream.count)
    }
    for _ in 0..<3 {
      if random.oneIn(8) {
        stream = random.bytes(random.below(256))
      } else if !stream.isEmpty {
        Mutator.change(&stream, in: 0..<stream.count, most: 4, &random)
      }
      if random.oneIn(4) { Mutator.changeLength(&stream, unit: 1, &random) }
      let expected = random.oneIn(2) ? data.count : random.below(4096)
      _ = try decompress(stream, expected, algorithm)
    }
  }

  /// The contents, nil for a stream that is not valid.
  private func decompress(
    _ stream: [UInt8], _ byteCount: Int, _ algorithm: CompressionAlgorithm
  ) throws(FuzzFailure) -> [UInt8]? {
    let margin = Self.guardBytes
    var memory = [UInt8](repeating: 0xa5, count: byteCount + 2 * margin)
    var whole = memory.mutableRawBytes
    var target = whole.subrange(margin..<margin + byteCount)
    var isValid = true
    do throws(CompressionError) {
      try decompressor.decompress(stream.rawBytes, into: &target, algorithm: algorithm)
    } catch {
      isValid = false
    }
    let margins = memory.prefix(margin) + memory.suffix(margin)
    try check(margins.allSatisfy { $0 == 0xa5 }, "\(algorithm) writes outside its destination")
    return isValid ? Array(memory[margin..<margin + byteCount]) : nil
  }
}

/// Checksums.
final class ChecksumFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let data = random.bytes(random.below(random.oneIn(8) ? 20000 : 600))
    let cut = random.below(data.count + 1)
    let (first, second) = (Array(data[..<cut]), Array(data[cut...]))
    var source = RandomSource.seeded(random)
    let key = EncryptionKey(using: &source)
    let nonce = Nonce(
      counter: UInt32(truncatingIfNeeded: random.next()), 1, 2,
      UInt32(truncatingIfNeeded: random.next()))
    for type in ChecksumType.allKnown {
      try pieces(type, data, first, second, key, nonce)
    }
    let unknown = ChecksumType(rawValue: 8 + random.byte() % 248)
    let found = mayFail { () throws(ChecksumError) in try unknown.checksum(data.rawBytes) }
    try check(found == nil, "a checksum of unknown type \(unknown)")
    _ = unknown.description
  }

  private func pieces(
    _ type: ChecksumType, _ data: [UInt8], _ first: [UInt8], _ second: [UInt8],
    _ key: EncryptionKey, _ nonce: Nonce
  ) throws(FuzzFailure) {
    func checksum(_ bytes: [UInt8]) throws(FuzzFailure) -> Checksum128 {
      try mustWork("checksum \(type)") { () throws(ChecksumError) in
        try type.checksum(bytes.rawBytes, key: key, nonce: nonce)
      }
    }
    let whole = try checksum(data)
    let streamed: Checksum128
    do throws(ChecksumError) {
      var state = try StreamingChecksum(type, key: key, nonce: nonce)
      state.update(first.rawBytes)
      state.update(second.rawBytes)
      streamed = state.finish()
    } catch {
      throw FuzzFailure("streaming \(type): \(error)")
    }
    try check(streamed.matches(whole), "\(type) in pieces: \(streamed), at once \(whole)")
    try check(
      whole == whole.truncated(toByteCount: type.fieldBytes), "\(type) has bits beyond its field")
    guard type.isMergeable else { return }
    let merged = type.merge(
      try checksum(first), try checksum(second), secondByteCount: second.count)
    try check(merged == whole, "\(type) merged: \(merged), at once \(whole)")
  }
}

/// Ciphers and keyed hashes.
final class CipherFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    var source = RandomSource.seeded(random)
    let key = EncryptionKey(using: &source)
    let data = random.bytes(random.below(1024))
    let blocks = data.count / 64
    // Near the counter's wrap half of the time.
    let counter =
      random.oneIn(2)
      ? 0 &- UInt32(random.below(20)) : UInt32(truncatingIfNeeded: random.next())
    let nonce = Nonce(
      counter: counter, UInt32(truncatingIfNeeded: random.next()),
      UInt32(truncatingIfNeeded: random.next()), UInt32(truncatingIfNeeded: random.next()))
    var whole = data
    var span = whole.mutableRawBytes
    key.applyChaCha20(to: &span, nonce: nonce)
    var pieces = data
    let cut = random.below(blocks + 1) * 64
    var all = pieces.mutableRawBytes
    var head = all.subrange(0..<cut)
    key.applyChaCha20(to: &head, nonce: nonce)
    var tail = all.subrange(cut..<data.count)
    key.applyChaCha20(to: &tail, nonce: nonce.adding(bytes: cut))
    try check(pieces == whole, "ChaCha20 in pieces, cut at \(cut): \(difference(pieces, whole))")
    var back = whole.mutableRawBytes
    key.applyChaCha20(to: &back, nonce: nonce)
    try check(whole == data, "ChaCha20 is not its own inverse")
    try hashes(data, &random)
  }

  private func hashes(_ data: [UInt8], _ random: inout Xoshiro256) throws(FuzzFailure) {
    let (k0, k1) = (random.next(), random.next())
    let whole = SipHash24.hash(data.rawBytes, k0: k0, k1: k1)
    var state = SipHash24(k0: k0, k1: k1)
    var at = 0
    while at < data.count {
      let count = min(data.count - at, random.below(20))
      state.update(data.rawBytes.extracting(at..<at + count))
      at += count
    }
    let streamed = state.finish()
    try check(streamed == whole, "SipHash in pieces: \(streamed), at once \(whole)")
    if data.count < 7 {
      let driver = SipHash24.driverHash(first: 7, then: data.rawBytes, k0: k0, k1: k1)
      let both = SipHash24.hash(([7] + data).rawBytes, k0: k0, k1: k1)
      try check(driver == both, "the driver's hash of a short name")
    }
    var hash = XXHash64(seed: k0)
    let cut = random.below(data.count + 1)
    hash.update(data.rawBytes.extracting(0..<cut))
    hash.update(data.rawBytes.extracting(cut..<data.count))
    let digest = hash.digest
    try check(digest == XXHash64.hash(data.rawBytes, seed: k0), "xxHash in pieces")
  }
}

/// Stripes.
final class ParityFuzzer: Fuzzer {
  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let blockBytes = random.oneIn(2) ? 32 * (1 + random.below(16)) : 1 + random.below(300)
    let geometry = try mustWork("a stripe") { () throws(ParityError) in
      try StripeGeometry(
        dataBlocks: 1 + random.below(random.oneIn(16) ? 60 : 12), parityBlocks: 1 + random.below(2),
        blockBytes: blockBytes)
    }
    var stripe = random.bytes(geometry.byteCount)
    try mustWork("parity of \(geometry)") { () throws(ParityError) in
      var span = stripe.mutableRawBytes
      try geometry.generateParity(in: &span)
    }
    var expected: UInt8 = 0
    for block in 0..<geometry.dataBlocks { expected ^= stripe[block * blockBytes] }
    try check(
      stripe[geometry.dataBlocks * blockBytes] == expected, "P of \(geometry) is not the sum")
    var lost: [Int] = []
    for _ in 0..<random.below(geometry.parityBlocks + 1) {
      let block = random.below(geometry.blocks)
      if !lost.contains(block) { lost.append(block) }
    }
    var damaged = stripe
    for block in lost {
      for at in geometry.bytes(ofBlock: block) { damaged[at] = random.byte() }
    }
    try mustWork("recovery of \(lost) in \(geometry)") { () throws(ParityError) in
      var span = damaged.mutableRawBytes
      try geometry.recover(blocks: lost, in: &span)
    }
    try check(damaged == stripe, "recovery of \(lost) in \(geometry)")
    let impossible = (0..<random.below(5)).map { _ in random.below(geometry.blocks + 2) - 1 }
    _ = mayFail { () throws(ParityError) in
      var span = damaged.mutableRawBytes
      try geometry.recover(blocks: impossible, in: &span)
    }
  }
}
