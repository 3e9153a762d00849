// SPDX-License-Identifier: GPL-2.0
// The list of entries that makes up the value of every key that points to data: iteration and
// writing.
//
// How it works
//   Entries stand one after the other, each one to three words. The lowest set bit of an entry's
//   first word is its type, and its type its length. Types that this version does not know have
//   the length that the superblock gives them (ExtentEntrySizes); without one the walk yields
//   `.invalid` and ends, and what follows stays untouched bytes.
//
// Invariants
//   (1) The walk never reads beyond the span, and advances by at least one word a step.

/// One entry of an extent's value (`union bch_extent_entry`).
public enum ExtentEntry: Hashable, Sendable {
  case ptr(ExtentPtr)
  case crc(ExtentCrc, ExtentCrc.Kind)
  case stripePtr(ExtentStripePtr)
  case rebalance(ExtentRebalance)
  case flags(ExtentFlags)
  /// How and where newer drivers want it kept (`struct bch_extent_reconcile`): the word as it is.
  case reconcile(UInt64)
  /// Which entry of a reconcile btree stands for a btree node (`struct bch_extent_reconcile_bp`).
  case reconcileBackpointer(UInt64)
  /// A type that this version does not know, of a length that the superblock gives.
  case unknown(type: UInt8, u64s: Int)
  /// A type whose length is not known, or an entry cut off by the value's end.
  case invalid(word: UInt64)

  /// Words it takes on disk; 0 for `.invalid`.
  @inlinable public var u64s: Int {
    switch self {
    case .ptr, .stripePtr, .rebalance, .flags, .reconcile, .reconcileBackpointer: 1
    case .crc(_, let kind): kind.u64s
    case .unknown(_, let u64s): u64s
    case .invalid: 0
    }
  }
}

/// How many words entries take whose types this version does not know: section 16 of the superblock
/// (`struct bch_sb_field_extent_type_u64s`, from 1.32 on), a byte a type.
@frozen
public struct ExtentEntrySizes: Hashable, Sendable, BitwiseCopyable {
  /// The first type that is not known.
  @inlinable public static var firstType: Int { 9 }
  /// Four bits a type, of 16 types; 0 for one without a size.
  @usableFromInline let nibbles: UInt64

  @usableFromInline init(nibbles: UInt64) { self.nibbles = nibbles }

  /// Nothing is known.
  public static let none = ExtentEntrySizes(nibbles: 0)

  /// The section's contents; as upstream has it, a 0 ends the list.
  public init(section contents: [UInt8]) {
    var nibbles: UInt64 = 0
    for (type, size) in contents.prefix(while: { $0 != 0 }).enumerated() {
      let place = type - Self.firstType
      if 0..<16 ~= place && size < 16 { nibbles |= UInt64(size) << UInt64(place * 4) }
    }
    self.nibbles = nibbles
  }

  /// Words of an entry; 0 where that is not known.
  @inlinable public func u64s(ofType type: Int) -> Int {
    let place = type &- Self.firstType
    return place >= 0 && place < 16 ? Int(nibbles >> UInt64(place &* 4) & 15) : 0
  }
}

/// A pointer together with all that entries before it say of it (`struct extent_ptr_decoded`).
@frozen
public struct DecodedPtr: Hashable, Sendable, BitwiseCopyable {
  public var ptr: ExtentPtr
  public var crc: ExtentCrc
  /// The stripe it is part of.
  public var stripe: ExtentStripePtr?

  @inlinable public init(ptr: ExtentPtr, crc: ExtentCrc, stripe: ExtentStripePtr? = nil) {
    self.ptr = ptr
    self.crc = crc
    self.stripe = stripe
  }
}

/// The entries in the value of an `extent`, `btree_ptr`, `btree_ptr_v2`, `reflink_v` or the
/// pointers of a `stripe`.
public struct ExtentEntries: ~Escapable {
  /// The words of all entries.
  public let bytes: RawSpan
  /// Sectors of the key.
  public let keySize: UInt32
  /// Of types that this version does not know.
  public let sizes: ExtentEntrySizes

  /// - Parameters:
  ///   - bytes: All entries; a last part of less than a word is not looked at.
  ///   - keySize: Sectors of the key, which crc entries report as the live size.
  ///   - sizes: Of the volume's superblock.
  @inlinable @_lifetime(copy bytes)
  public init(_ bytes: RawSpan, keySize: UInt32, sizes: ExtentEntrySizes = .none) {
    self.bytes = bytes
    self.keySize = keySize
    self.sizes = sizes
  }

  /// The entries within a key's value, for the types that have any (`bch2_bkey_ptrs_c`).
  ///
  /// - Throws: `.truncated` if the value is smaller than its type's header.
  @_lifetime(copy value)
  public init(
    key: BKey, value: RawSpan, sizes: ExtentEntrySizes = .none
  ) throws(FormatError) {
    let range = try ExtentEntries.range(of: key, value: value)
    bytes = value.extracting(range)
    keySize = key.size
    self.sizes = sizes
  }

  /// Where in its value a key's entries are; empty for types without pointers.
  public static func range(of key: BKey, value: RawSpan) throws(FormatError) -> Range<Int> {
    let count = value.byteCount & ~7
    switch key.type {
    case .btreePtr, .extent: return 0..<count
    case .btreePtrV2:
      guard count >= BTreePtrV2.Layout.byteCount else {
        throw .tooSmall("btree_ptr_v2", count, BTreePtrV2.Layout.byteCount)
      }
      return BTreePtrV2.Layout.byteCount..<count
    case .reflinkV:
      guard count >= 8 else { throw .tooSmall("reflink_v", count, 8) }
      return 8..<count
    case .stripe:
      guard count >= 8 else { throw .tooSmall("stripe", count, 8) }
      return 8..<min(count, 8 &+ 8 &* Int(value[LEField<UInt8>(3)]))
    default: return 0..<0
    }
  }

  /// Every entry, in order.
  @inlinable public var entries: Iterator {
    @_lifetime(copy self) get { Iterator(bytes, keySize: keySize, sizes: sizes) }
  }

  /// What is said of the whole extent; nothing on volumes older than 1.25.
  public var flags: ExtentFlags {
    var entries = entries
    while let entry = entries.next() {
      if case .flags(let flags) = entry { return flags }
    }
    return ExtentFlags()
  }

  /// What the extent's options wish; nil where it is as they want it.
  public var rebalance: ExtentRebalance? {
    var entries = entries
    while let entry = entries.next() {
      if case .rebalance(let wish) = entry { return wish }
    }
    return nil
  }

  /// Every pointer with its checksum, compression and stripe, in order.
  @inlinable public var pointers: PointerIterator {
    @_lifetime(copy self) get {
      PointerIterator(Iterator(bytes, keySize: keySize, sizes: sizes))
    }
  }

  /// Walks entries.
  public struct Iterator: ~Escapable {
    @usableFromInline let bytes: RawSpan
    @usableFromInline let keySize: UInt32
    @usableFromInline let sizes: ExtentEntrySizes
    @usableFromInline var cursor = 0

    /// Bytes from the start of the entries to the next one.
    @inlinable public var byteOffset: Int { cursor }

    @usableFromInline @_lifetime(copy bytes)
    init(_ bytes: RawSpan, keySize: UInt32, sizes: ExtentEntrySizes) {
      self.bytes = bytes
      self.keySize = keySize
      self.sizes = sizes
    }

    /// The next entry; after `.invalid` there is none.
    public mutating func next() -> ExtentEntry? {
      let left = bytes.byteCount &- cursor
      guard left >= 8 else { return nil }
      let at = cursor
      let word = bytes[LEField<UInt64>(at)]
      let entry: ExtentEntry
      switch word.trailingZeroBitCount {
      case 0: entry = .ptr(ExtentPtr(word: word))
      case 4: entry = .stripePtr(ExtentStripePtr(word: word))
      case 5: entry = .rebalance(ExtentRebalance(word: word))
      case 6: entry = .flags(ExtentFlags(word: word))
      case 7: entry = .reconcile(word)
      case 8: entry = .reconcileBackpointer(word)
      case let bit
      where bit >= ExtentEntrySizes.firstType && sizes.u64s(ofType: bit) > 0
        && left >= sizes.u64s(ofType: bit) &* 8:
        entry = .unknown(type: UInt8(bit), u64s: sizes.u64s(ofType: bit))
      case let bit:
        guard bit <= 3, let kind = ExtentCrc.Kind(rawValue: UInt8(bit)), left >= kind.u64s &* 8
        else {
          cursor = bytes.byteCount
          return .invalid(word: word)
        }
        entry = .crc(ExtentCrc(decoding: bytes, at: at, kind: kind, liveSize: keySize), kind)
      }
      cursor = at &+ entry.u64s &* 8
      return entry
    }
  }

  /// Walks pointers (`bkey_for_each_ptr_decode`).
  public struct PointerIterator: ~Escapable {
    @usableFromInline var entries: Iterator
    @usableFromInline var crc: ExtentCrc

    @usableFromInline @_lifetime(copy entries)
    init(_ entries: Iterator) {
      crc = ExtentCrc(plainSectors: entries.keySize)
      self.entries = entries
    }

    /// The next pointer; an entry of unknown type ends the walk.
    public mutating func next() -> DecodedPtr? {
      var stripe: ExtentStripePtr?
      while let entry = entries.next() {
        switch entry {
        case .ptr(let ptr): return DecodedPtr(ptr: ptr, crc: crc, stripe: stripe)
        case .crc(let crc, _): self.crc = crc
        case .stripePtr(let word): stripe = word
        case .rebalance, .flags, .reconcile, .reconcileBackpointer, .unknown: break
        case .invalid: return nil
        }
      }
      return nil
    }
  }
}

/// Writes entries one after the other into a value.
///
/// ```
/// var writer = ExtentWriter()
/// try writer.append(crc, to: &value)
/// try writer.append(ptr, to: &value)
/// key.u64s = UInt8(BKey.headerU64s + writer.encodedU64s)
/// ```
@frozen
public struct ExtentWriter: Sendable {
  @usableFromInline var cursor: Int

  /// - Parameter byteOffset: Bytes of the value's own header before the entries.
  @inlinable public init(at byteOffset: Int = 0) { cursor = byteOffset }

  /// Bytes from the start of the value to the next entry.
  @inlinable public var byteOffset: Int { cursor }

  /// The largest extent value, in words (`BKEY_EXTENT_VAL_U64s_MAX`).
  @inlinable public static var maxU64s: Int { 21 }

  /// Words written so far, the value's own header included.
  @inlinable public var encodedU64s: Int { byteOffset / 8 }

  /// - Throws: `.tooSmall` if `value` has no room for it.
  public mutating func append(
    _ ptr: ExtentPtr, to value: inout MutableRawSpan
  ) throws(FormatError) {
    try append((ptr.word, 0, 0), count: 1, to: &value)
  }

  /// - Throws: `.tooSmall` if `value` has no room for it.
  public mutating func append(
    _ stripe: ExtentStripePtr, to value: inout MutableRawSpan
  ) throws(FormatError) {
    try append((stripe.word, 0, 0), count: 1, to: &value)
  }

  /// - Throws: `.tooSmall` if `value` has no room for it.
  public mutating func append(
    _ rebalance: ExtentRebalance, to value: inout MutableRawSpan
  ) throws(FormatError) {
    try append((rebalance.word, 0, 0), count: 1, to: &value)
  }

  /// Appends a crc entry, of the narrowest kind that holds it unless `kind` is given.
  ///
  /// - Throws: `.tooLarge` if no kind (or not the one asked for) holds it, `.tooSmall` if `value`
  ///   has no room for it.
  public mutating func append(
    _ crc: ExtentCrc, kind: ExtentCrc.Kind? = nil, to value: inout MutableRawSpan
  ) throws(FormatError) {
    guard let kind = kind ?? crc.smallestKind, crc.fits(kind) else {
      throw FormatError(
        .tooLarge, "bch_extent_crc", "uncompressed_size", found: UInt64(crc.uncompressedSize),
        expected: UInt64(ExtentCrc.Kind.crc128.maxSizeSectors))
    }
    try append(crc.words(as: kind), count: kind.u64s, to: &value)
  }

  /// Appends any entry as it is.
  ///
  /// - Throws: `.unsupported` for `.unknown` and `.invalid`, and what the other forms throw.
  public mutating func append(
    _ entry: ExtentEntry, to value: inout MutableRawSpan
  ) throws(FormatError) {
    switch entry {
    case .ptr(let ptr): try append(ptr, to: &value)
    case .crc(let crc, let kind): try append(crc, kind: kind, to: &value)
    case .stripePtr(let stripe): try append(stripe, to: &value)
    case .rebalance(let rebalance): try append(rebalance, to: &value)
    case .flags(let flags): try append((flags.word, 0, 0), count: 1, to: &value)
    case .reconcile(let word), .reconcileBackpointer(let word):
      try append((word, 0, 0), count: 1, to: &value)
    case .unknown(let type, _):
      throw FormatError(.unsupported, "bch_extent_entry", "type", found: UInt64(type))
    case .invalid(let word):
      throw FormatError(.unsupported, "bch_extent_entry", "type", found: word)
    }
  }

  private mutating func append(
    _ words: (UInt64, UInt64, UInt64), count: Int, to value: inout MutableRawSpan
  ) throws(FormatError) {
    guard cursor >= 0, value.byteCount &- cursor >= count &* 8 else {
      throw .tooSmall("bch_extent", value.byteCount, cursor &+ count &* 8)
    }
    value[LEField<UInt64>(cursor)] = words.0
    if count > 1 { value[LEField<UInt64>(cursor &+ 8)] = words.1 }
    if count > 2 { value[LEField<UInt64>(cursor &+ 16)] = words.2 }
    cursor &+= count &* 8
  }
}
