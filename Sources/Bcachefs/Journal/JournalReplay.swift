// SPDX-License-Identifier: GPL-2.0
// What the entries of the journal, or of the clean section, do to a volume's state in memory.
//
// How it works
//   The parts of an entry are taken in order. `btree_root` replaces the root of its btree, `usage`
//   and `clock` set counters, `blacklist` adds to the list, keys go to the overlay. The others say
//   what happened (`log`, `overwrite`, `datetime`) or what is counted elsewhere now: nothing is
//   done.
// Invariants
//   (1) A part that contradicts the format is left out, and told; what follows it is used. A part
//       beyond its entry's end ends the entry. A root that cannot be used is a lost root, not an
//       older one.
//   (2) Every key in the overlay and every root has passed the validation of keys.
// Source: recovery.c, `journal_replay_entry_early`; journal_io.c, `jset_validate_entries`.

internal import BcachefsFormat
internal import BcachefsSupport

/// Applies entries in the order of their sequence numbers.
struct JournalReplay: ~Copyable {
  private(set) var roots = [JournalRoot?](repeating: nil, count: Int(BTreeID.maxCount))
  /// Reads, writes.
  private(set) var clocks: [UInt64] = [0, 0]
  private(set) var keyVersion: UInt64 = 0
  private(set) var blacklisted: [Range<UInt64>] = []
  private(set) var warnings = JournalWarnings()
  private var overlay = JournalOverlayBuilder()
  private let context: BKeyContext
  /// Whether the volume's format is newer than the rules that keys are judged by.
  private let isNewerFormat: Bool
  /// What files are read from. The other btrees describe these, and newer formats do it otherwise.
  private static let judgedAlways: Set<BTreeID> = [
    .extents, .inodes, .dirents, .xattrs, .reflink, .subvolumes, .snapshots,
  ]

  init(_ superblock: Superblock) {
    context = BKeyContext(superblock)
    isNewerFormat = superblock.version > .native
  }

  /// Applies a journal entry that has its bytes.
  mutating func apply(_ entry: JournalEntry) {
    guard let memory = entry.bytes else { return }
    overlay.begin(memory)
    let bytes = memory.bytes
    let start = JSetHeader.Layout.byteCount
    apply(bytes.extracting(start..<bytes.byteCount), sequence: entry.sequence, offset: start)
  }

  /// Applies the clean section; keys in it are not for the overlay.
  mutating func apply(_ clean: CleanSection) {
    let bytes = clean.entries.flatMap { $0.encode() }
    apply(bytes.rawBytes, sequence: clean.journalSeq, offset: nil)
  }

  consuming func finishOverlay() -> JournalOverlay { overlay.finish() }

  private mutating func apply(_ list: RawSpan, sequence: UInt64, offset: Int?) {
    var parts = JSetEntryIterator(list)
    do throws(FormatError) {
      while try parts.advance() {
        let part = parts.current
        switch part.type {
        case .btreeKeys, .writeBufferKeys:
          guard let offset else { continue }
          addKeys(
            of: part, sequence: sequence,
            offset: offset + parts.offset + JSetEntryView.Layout.byteCount)
        case .btreeRoot: setRoot(part, sequence)
        default: applyOther(part, sequence)
        }
      }
    } catch {
      warnings.append(.invalidEntry(sequence: sequence, error))
    }
  }

  /// - Parameter offset: Of the first key in the entry's memory.
  private mutating func addKeys(
    of part: borrowing JSetEntryView, sequence: UInt64, offset: Int
  ) {
    guard part.btree.rawValue < BTreeID.maxCount, part.level < BTreeNodeHeader.maxDepth else {
      warnings.append(.invalidBTree(sequence: sequence, part.btree, level: part.level))
      return
    }
    var keys = part.keys
    while true {
      do throws(FormatError) {
        // After an error there is less left than before: this ends.
        guard let key = try keys.next() else { return }
        if !isNewerFormat || part.level > 0 || Self.judgedAlways.contains(part.btree) {
          try BKeyValue.validate(
            key: key, value: keys.value, btree: part.btree, level: Int(part.level),
            context: context)
        }
        overlay.add(key, btree: part.btree, level: part.level, offset: offset + keys.offset)
      } catch {
        warnings.append(.invalidContents(sequence: sequence, part.type, error))
      }
    }
  }

  private mutating func setRoot(_ part: borrowing JSetEntryView, _ sequence: UInt64) {
    guard part.btree.rawValue < BTreeID.maxCount else {
      warnings.append(.invalidBTree(sequence: sequence, part.btree, level: part.level))
      return
    }
    var root = JournalRoot(level: part.level, key: nil, value: [], sequence: sequence)
    do throws(FormatError) {
      try part.validate()
      var keys = part.keys
      if let key = try keys.next() {
        // The key stands in the level above the node.
        try BKeyValue.validate(
          key: key, value: keys.value, btree: part.btree, level: 1, context: context)
        root = JournalRoot(
          level: part.level, key: key, value: [UInt8](copying: keys.value), sequence: sequence)
      }
    } catch {
      warnings.append(.invalidContents(sequence: sequence, part.type, error))
    }
    roots[Int(part.btree.rawValue)] = root
  }

  private mutating func applyOther(_ part: borrowing JSetEntryView, _ sequence: UInt64) {
    typealias L = JSetEntryView.Layout
    do throws(FormatError) {
      try part.validate()
    } catch {
      warnings.append(.invalidContents(sequence: sequence, part.type, error))
      return
    }
    let bytes = part.bytes
    switch part.type {
    case .usage where part.btree.rawValue == FilesystemUsageType.keyVersion.rawValue:
      keyVersion = bytes[L.value]
    case .clock: clocks[Int(bytes[L.clockRW])] = bytes[L.clockTime]
    case .blacklist: addToBlacklist(bytes[L.value], bytes[L.value])
    case .blacklistV2: addToBlacklist(bytes[L.value], bytes[L.blacklistEnd])
    default: break
    }
  }

  private mutating func addToBlacklist(_ first: UInt64, _ last: UInt64) {
    blacklisted.append(first..<(last == .max ? .max : last + 1))
  }
}

extension BKeyContext {
  /// What a superblock says of the devices that keys point to.
  init(_ superblock: Superblock) {
    let devices = superblock.members.map { member -> BKeyContext.Device? in
      guard member.isAlive, member.bucketSizeSectors > 0 else { return nil }
      return BKeyContext.Device(
        bucketSizeSectors: UInt32(member.bucketSizeSectors),
        firstBucket: UInt64(member.firstBucket), bucketCount: member.bucketCount,
        durability: member.durability, isFailed: member.state == .failed)
    }
    self.init(devices: devices)
  }
}

extension [UInt8] {
  /// A copy of the bytes.
  init(copying bytes: RawSpan) {
    self = unsafe bytes.withUnsafeBytes { unsafe [UInt8]($0) }
  }
}
