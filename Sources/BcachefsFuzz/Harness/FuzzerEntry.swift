// SPDX-License-Identifier: GPL-2.0
// All fuzzers.

/// A fuzzer by name.
struct FuzzerEntry: Sendable {
  let name: String
  let about: String
  /// Cases of a smoke run; `all` runs a hundred times as many.
  let smokeCount: UInt64
  let make: @Sendable (Corpus) throws(FuzzFailure) -> any Fuzzer

  init(
    _ name: String, _ about: String, smoke smokeCount: UInt64,
    _ make: @escaping @Sendable (Corpus) throws(FuzzFailure) -> any Fuzzer
  ) {
    self.name = name
    self.about = about
    self.smokeCount = smokeCount
    self.make = make
  }

  static let all: [FuzzerEntry] = [
    FuzzerEntry("superblock", "whole superblocks, checksums put right", smoke: 2000) {
      (corpus) throws(FuzzFailure) in SuperblockFuzzer(corpus)
    },
    FuzzerEntry("layout", "the layout of superblock copies", smoke: 5000) {
      (corpus) throws(FuzzFailure) in LayoutFuzzer(corpus)
    },
    FuzzerEntry("section", "each type of superblock section alone", smoke: 5000) {
      (corpus) throws(FuzzFailure) in try SectionFuzzer(corpus)
    },
    FuzzerEntry("journal-set", "journal entries as a whole", smoke: 3000) {
      (corpus) throws(FuzzFailure) in try JSetFuzzer(corpus)
    },
    FuzzerEntry("journal-entry", "each type of entry within a journal entry", smoke: 10000) {
      (corpus) throws(FuzzFailure) in JSetEntryFuzzer(corpus)
    },
    FuzzerEntry("key-format", "packed keys beside a bit by bit model", smoke: 10000) {
      (corpus) throws(FuzzFailure) in KeyFormatFuzzer()
    },
    FuzzerEntry("key-range", "the formats chosen for sets of keys", smoke: 5000) {
      (corpus) throws(FuzzFailure) in KeyRangeFuzzer()
    },
    FuzzerEntry("bset", "walks over bsets, right ones and mutated ones", smoke: 5000) {
      (corpus) throws(FuzzFailure) in BSetFuzzer()
    },
    FuzzerEntry("node-header", "headers of btree nodes, key formats", smoke: 10000) {
      (corpus) throws(FuzzFailure) in NodeHeaderFuzzer()
    },
    FuzzerEntry("node", "btree nodes that the driver and our builder wrote, mutated", smoke: 2000) {
      (corpus) throws(FuzzFailure) in try NodeFuzzer(corpus)
    },
    FuzzerEntry("value", "values of all key types", smoke: 20000) {
      (corpus) throws(FuzzFailure) in ValueFuzzer(corpus)
    },
    FuzzerEntry("extent", "lists of extent entries", smoke: 20000) {
      (corpus) throws(FuzzFailure) in ExtentFuzzer(corpus)
    },
    FuzzerEntry("inode", "inodes of all versions, re-encoded", smoke: 20000) {
      (corpus) throws(FuzzFailure) in InodeFuzzer(corpus)
    },
    FuzzerEntry("position", "what positions mean, both ways", smoke: 20000) {
      (corpus) throws(FuzzFailure) in PositionFuzzer()
    },
    FuzzerEntry("compression", "decompressors on mutated streams", smoke: 2000) {
      (corpus) throws(FuzzFailure) in CompressionFuzzer()
    },
    FuzzerEntry("checksum", "checksums merged and in pieces", smoke: 3000) {
      (corpus) throws(FuzzFailure) in ChecksumFuzzer()
    },
    FuzzerEntry("cipher", "ChaCha20, Poly1305 and SipHash in pieces", smoke: 3000) {
      (corpus) throws(FuzzFailure) in CipherFuzzer()
    },
    FuzzerEntry("parity", "stripes with lost blocks", smoke: 500) {
      (corpus) throws(FuzzFailure) in ParityFuzzer()
    },
    FuzzerEntry("option", "options from text, to text, in superblocks", smoke: 5000) {
      (corpus) throws(FuzzFailure) in OptionFuzzer()
    },
    FuzzerEntry("text", "sizes, UUIDs, dates, columns", smoke: 10000) {
      (corpus) throws(FuzzFailure) in TextFuzzer()
    },
    FuzzerEntry("volume", "whole volumes that our builder made, mutated, then read", smoke: 300) {
      (corpus) throws(FuzzFailure) in try ImageFuzzer(corpus, isStored: false)
    },
    FuzzerEntry("driver-volume", "the same with volumes that the driver wrote", smoke: 150) {
      (corpus) throws(FuzzFailure) in try ImageFuzzer(corpus, isStored: true)
    },
    FuzzerEntry("device", "the simulated device beside a naive one", smoke: 300) {
      (corpus) throws(FuzzFailure) in DeviceFuzzer()
    },
  ]
}
