// SPDX-License-Identifier: GPL-2.0
// Pointers and the entries around them, as upstream prints them.
// Source: bcachefs extents.c (bch2_bkey_ptrs_to_text and what it calls).

internal import BcachefsSupport

extension ExtentPtr: CustomStringConvertible {
  /// `ptr: 0:4096 gen 0`: device, sector, generation.
  public var description: String { text() }

  /// With the device in `context`: `ptr: 0:25:0 gen 0`: device, bucket, offset in it, generation
  /// (`bch2_extent_ptr_to_text`). Staleness, which the alloc btree knows, is not printed.
  public func text(context: BKeyContext = .none) -> String {
    guard let known = context.device(UInt64(device)) else {
      return "ptr: \(device):\(offset) gen \(generation)\(isCached ? " cached" : "")"
    }
    let size = UInt64(known.bucketSizeSectors)
    var text = "ptr: \(device):\(offset / size):\(offset % size) gen \(generation)"
    if known.durability != 1 { text += " d=\(known.durability)" }
    if isCached { text += " cached" }
    if isUnwritten { text += " unwritten" }
    return text
  }
}

extension ExtentStripePtr: CustomStringConvertible {
  /// `ec: idx 7 block 2`
  public var description: String { "ec: idx \(stripe) block \(block)" }
}

extension ExtentRebalance: CustomStringConvertible {
  /// `rebalance: target 0 compression zstd`
  public var description: String { text() }

  /// With the volume's targets by name (`bch2_target_to_text`).
  public func text(context: BKeyContext = .none) -> String {
    let name =
      context.isKnown && target == 0 ? "none" : context.targetNames[target] ?? String(target)
    return "rebalance: target \(name) compression "
      + CompressionOption(rawValue: compression).description
  }
}

extension ExtentCrc: CustomStringConvertible {
  /// Upstream's line, with its two spaces (`bch2_extent_crc_unpacked_to_text`).
  public var description: String {
    "crc: c_size \(compressedSize) size \(uncompressedSize) offset \(offset) nonce \(nonce) csum "
      + ChecksumType(rawValue: checksumType).description
      + " \(String(checksum.hi, radix: 16)):\(String(checksum.lo, radix: 16))  compress "
      + CompressionType(rawValue: compressionType).description
  }
}

extension ExtentEntries {
  /// How many device failures the data survives, plus one (`bch2_bkey_durability`), as far as the
  /// devices are known.
  public func durability(context: BKeyContext) -> Int {
    var total = 0
    var pointers = pointers
    while let next = pointers.next() {
      guard let device = context.device(UInt64(next.ptr.device)), !device.isFailed,
        !next.ptr.isCached
      else { continue }
      total += next.stripe.map { Int($0.redundancy) + 1 } ?? Int(device.durability)
    }
    return total
  }

  /// All entries (`bch2_bkey_ptrs_to_text`).
  public func text(context: BKeyContext = .none) -> String {
    var text = context.isKnown ? "durability: \(durability(context: context)) " : ""
    var entries = entries
    var isFirst = true
    while let entry = entries.next() {
      if !isFirst { text += " " }
      isFirst = false
      switch entry {
      case .ptr(let ptr): text += ptr.text(context: context)
      case .crc(let crc, _): text += crc.description
      case .stripePtr(let stripe): text += stripe.description
      case .rebalance(let rebalance): text += rebalance.text(context: context)
      case .flags(let flags): text += "flags: \(flags.isPoisoned ? "poisoned" : "")"
      case .reconcile(let word): text += "reconcile: \(String(word >> 8, radix: 16))"
      case .reconcileBackpointer(let word): text += "reconcile_bp: idx \(word >> 9)"
      case .unknown(let type, let u64s): text += "(unknown extent entry type \(type), \(u64s) u64s)"
      case .invalid(let word):
        let digits = String(word, radix: 16)
        text += "(invalid extent entry "
        text += String(repeating: "0", count: 16 - digits.utf8.count) + digits + ")"
      }
    }
    return text
  }
}

extension BTreePtrV2: CustomStringConvertible {
  /// The head, as `bch2_btree_ptr_v2_to_text` prints it before the pointers.
  public var description: String {
    "seq \(String(seq, radix: 16)) written \(sectorsWritten) min_key "
      + (isRangeUpdated ? "R " : "") + minKey.description
  }
}
