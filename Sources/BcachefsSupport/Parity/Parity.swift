// SPDX-License-Identifier: GPL-2.0
// P and Q parity of a stripe, as Linux's RAID 6 and bcachefs's erasure coding define them.
//
// How it works
//   1. With data blocks D0, D1, ... the parity blocks are, byte by byte in the field GF(2^8) of
//      polynomial 0x11d:  P = D0 + D1 + ...,  Q = D0 + 2 D1 + 4 D2 + ... (addition is XOR).
//   2. Generation uses ISA-L's xor_gen and pq_gen where addresses and lengths are multiples of 32
//      bytes, else its general encoder, which takes anything.
//   3. Recovery: blocks are the rows of a matrix (identity, a row of ones, a row of powers of two)
//      times the data. The rows of n surviving blocks form a square matrix; its inverse, times
//      the rows of the lost blocks, says how to mix survivors into what was lost.
//
// Invariants
//   (1) Any n of the n + 2 blocks determine the others: two losses at most are repaired.
//   (2) Only lost blocks are written by `recover`, only parity by `generate`.
//
// Source: ec.c (raid_gen, raid_rec); H. P. Anvin, "The mathematics of RAID-6".

internal import CISAL

/// Why a stripe cannot be computed.
public enum ParityError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Not 1 ... 2 parity blocks and 1 ... 253 data blocks.
  case unsupportedGeometry(dataBlocks: Int, parityBlocks: Int)
  /// The stripe is not as long as its blocks together.
  case wrongLength(found: Int, expected: Int)
  /// More blocks are lost than there is parity.
  case tooManyLost(Int)
  /// A block number beyond the stripe, or twice.
  case badBlock(Int)

  public var description: String {
    switch self {
    case .unsupportedGeometry(let data, let parity):
      "a stripe of \(data) data and \(parity) parity blocks is not supported"
    case .wrongLength(let found, let expected):
      "stripe of \(found) bytes where its blocks need \(expected)"
    case .tooManyLost(let count): "\(count) blocks of the stripe are lost: too many"
    case .badBlock(let index): "no block \(index) in the stripe, or named twice"
    }
  }
}

/// The shape of a stripe: data blocks first, then P, then (with two parity blocks) Q.
@frozen
public struct StripeGeometry: Hashable, Sendable {
  public let dataBlocks: Int
  /// 1 or 2 (`nr_redundant`).
  public let parityBlocks: Int
  public let blockBytes: Int

  @inlinable public var blocks: Int { dataBlocks + parityBlocks }
  @inlinable public var byteCount: Int { blocks * blockBytes }

  /// - Throws: `.unsupportedGeometry`.
  public init(dataBlocks: Int, parityBlocks: Int, blockBytes: Int) throws(ParityError) {
    guard (1...253).contains(dataBlocks), (1...2).contains(parityBlocks), blockBytes > 0,
      blockBytes <= 1 << 30
    else { throw .unsupportedGeometry(dataBlocks: dataBlocks, parityBlocks: parityBlocks) }
    self.dataBlocks = dataBlocks
    self.parityBlocks = parityBlocks
    self.blockBytes = blockBytes
  }

  /// Where block `index` lies in the stripe.
  @inlinable
  public func bytes(ofBlock index: Int) -> Range<Int> {
    index * blockBytes..<(index + 1) * blockBytes
  }

  /// Computes the parity blocks of a stripe whose blocks stand one after the other.
  ///
  /// - Throws: `.wrongLength`.
  public func generateParity(in stripe: inout MutableRawSpan) throws(ParityError) {
    try checkLength(stripe.byteCount)
    unsafe stripe.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      var pointers = unsafe (0..<blocks).map { index -> UnsafeMutableRawPointer? in
        unsafe base + index * blockBytes
      }
      unsafe pointers.withUnsafeMutableBufferPointer { unsafe generate($0) }
    }
  }

  /// Computes the parity blocks of a stripe whose blocks may lie anywhere.
  ///
  /// - Precondition: `vectors` holds `blocks` pointers to `blockBytes` bytes each.
  @unsafe
  public func generateParity(vectors: UnsafeMutableBufferPointer<UnsafeMutableRawPointer?>) {
    invariant(vectors.count == blocks, "one pointer a block")
    unsafe generate(vectors)
  }

  private func generate(_ vectors: UnsafeMutableBufferPointer<UnsafeMutableRawPointer?>) {
    let isAligned =
      unsafe blockBytes & 31 == 0
      && vectors.allSatisfy { UInt(bitPattern: $0) & 31 == 0 }
    if isAligned && dataBlocks > 1 {
      let result =
        parityBlocks == 1
        ? unsafe xor_gen(Int32(blocks), Int32(blockBytes), vectors.baseAddress)
        : unsafe pq_gen(Int32(blocks), Int32(blockBytes), vectors.baseAddress)
      if result == 0 { return }
    }
    let rows = (dataBlocks..<blocks).flatMap { encodingRow(ofBlock: $0) }
    let data = unsafe (0..<dataBlocks).map { unsafe vectors[$0] }
    let parity = unsafe (dataBlocks..<blocks).map { unsafe vectors[$0] }
    unsafe mix(rows: rows, from: data, into: parity)
  }

  /// Computes the blocks that are lost from those that are not.
  ///
  /// - Parameters:
  ///   - lost: Block numbers, ascending or not, no more than `parityBlocks`.
  /// - Throws: `.wrongLength`, `.tooManyLost`, `.badBlock`.
  public func recover(
    blocks lost: [Int], in stripe: inout MutableRawSpan
  ) throws(ParityError) {
    try checkLength(stripe.byteCount)
    guard lost.count <= parityBlocks else { throw .tooManyLost(lost.count) }
    for (position, index) in lost.enumerated()
    where !(0..<blocks).contains(index) || lost[..<position].contains(index) {
      throw .badBlock(index)
    }
    guard !lost.isEmpty else { return }
    let survivors = (0..<blocks).filter { !lost.contains($0) }.prefix(dataBlocks)
    let coefficients = recoveryRows(of: lost, from: Array(survivors))
    unsafe stripe.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      let sources = unsafe survivors.map { index -> UnsafeMutableRawPointer? in
        unsafe base + index * blockBytes
      }
      let destinations = unsafe lost.map { index -> UnsafeMutableRawPointer? in
        unsafe base + index * blockBytes
      }
      unsafe mix(rows: coefficients, from: sources, into: destinations)
    }
  }

  // MARK: - The matrix

  /// How a block is made of the data blocks.
  private func encodingRow(ofBlock index: Int) -> [UInt8] {
    if index == dataBlocks { return [UInt8](repeating: 1, count: dataBlocks) }
    var row = [UInt8](repeating: 0, count: dataBlocks)
    if index < dataBlocks {
      row[index] = 1
    } else {
      row[0] = 1
      for column in row.indices.dropFirst() { row[column] = gf_mul(row[column - 1], 2) }
    }
    return row
  }

  /// How each lost block is made of the survivors.
  private func recoveryRows(of lost: [Int], from survivors: [Int]) -> [UInt8] {
    var square = survivors.flatMap { encodingRow(ofBlock: $0) }
    var inverse = [UInt8](repeating: 0, count: square.count)
    let result = unsafe gf_invert_matrix(&square, &inverse, Int32(dataBlocks))
    invariant(result == 0, "any n blocks of a stripe determine the others")
    var rows: [UInt8] = []
    for index in lost {
      let row = encodingRow(ofBlock: index)
      for column in 0..<dataBlocks {
        var sum: UInt8 = 0
        for k in 0..<dataBlocks { sum ^= gf_mul(row[k], inverse[k * dataBlocks + column]) }
        rows.append(sum)
      }
    }
    return rows
  }

  /// destination[i] = sum over k of rows[i][k] * source[k].
  private func mix(
    rows: [UInt8], from sources: [UnsafeMutableRawPointer?],
    into destinations: [UnsafeMutableRawPointer?]
  ) {
    var rows = rows
    let (columns, count) = unsafe (sources.count, destinations.count)
    var tables = [UInt8](repeating: 0, count: 32 * columns * count)
    unsafe ec_init_tables(Int32(columns), Int32(count), &rows, &tables)
    var from = unsafe sources.map { unsafe $0?.assumingMemoryBound(to: UInt8.self) }
    var to = unsafe destinations.map { unsafe $0?.assumingMemoryBound(to: UInt8.self) }
    unsafe ec_encode_data(
      Int32(blockBytes), Int32(columns), Int32(count), &tables, &from, &to)
  }

  private func checkLength(_ found: Int) throws(ParityError) {
    guard found == byteCount else { throw .wrongLength(found: found, expected: byteCount) }
  }
}
