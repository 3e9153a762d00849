// SPDX-License-Identifier: GPL-2.0
// Each section of the superblock as upstream prints it (the `to_text` of `bch2_sb_field_ops`).
//
// Invariants
//   (1) Names from the disk pass through `SafeText`.
//   (2) Every section ends its last line, except where upstream does not.

extension JournalBucketsSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    out.printLine("Buckets: " + buckets.map { " \($0)" }.joined())
  }
}

extension JournalBucketRangesSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    out.printLine("Buckets: " + ranges.map { " \($0.start)-\($0.start &+ $0.count)" }.joined())
  }
}

extension JournalSeqBlacklistSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    out.printLine(ranges.map { "\($0.start)-\($0.end)" }.joined(separator: " "))
  }
}

extension MembersV1Section {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    for (index, member) in members.enumerated() {
      member.print(into: &out, index: index, in: superblock, style: style)
    }
  }
}

extension MembersV2Section {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    for (index, member) in members.enumerated() {
      member.print(into: &out, index: index, in: superblock, style: style)
    }
  }
}

extension Member {
  /// Nothing for a free slot (`member_to_text`).
  func print(
    into out: inout TextPrinter, index: Int, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    guard isAlive else { return }
    let size = bucketCount.multipliedReportingOverflow(by: byteCountOfBucket)
    out.printLine("Device:\t\(index)")
    out.indent(2)
    out.printLine("Label:\t\(labelText(in: superblock))")
    out.printLine("UUID:\t\(uuid)")
    out.printLine("Size:\t\(HumanSize.text(size.partialValue))")
    for (type, count) in zip(MemberErrorType.all, errors) {
      out.printLine("\(type) errors:\t\(count)")
    }
    for (type, value) in zip(IOPSMeasurement.all, iops) { out.printLine("\(type) iops:\t\(value)") }
    out.printLine("Bucket size:\t\(HumanSize.text(byteCountOfBucket))")
    out.printLine("First bucket:\t\(firstBucket)")
    out.printLine("Buckets:\t\(bucketCount)")
    out.printLine("Last mount:\t\(lastMount == 0 ? "(never)" : style.date(lastMount))")
    out.printLine("Last superblock write:\t\(seq)")
    out.printLine("State:\t\(state.isKnown ? state.description : "unknown")")
    out.printLine("Data allowed:\t\(Self.text(dataAllowed))")
    let data = superblock.dataTypes(onDevice: UInt8(truncatingIfNeeded: index))
    out.printLine("Has data:\t\(Self.text(data))")
    let blockSize =
      btreeBitmapShift < 64
      ? HumanSize.text(1 << UInt64(btreeBitmapShift)) : "(invalid shift \(btreeBitmapShift))"
    out.printLine("Btree allocated bitmap blocksize:\t\(blockSize)")
    let bits = String(btreeAllocatedBitmap, radix: 2)
    let zeros = String(repeating: "0", count: 64 - bits.count)
    out.printLine("Btree allocated bitmap:\t\(zeros)\(bits)")
    out.printLine("Durability:\t\(durability)")
    out.printLine("Discard:\t\(discard ? 1 : 0)")
    out.printLine("Freespace initialized:\t\(freespaceInitialized ? 1 : 0)")
    out.outdent(2)
  }

  private var byteCountOfBucket: UInt64 { UInt64(bucketSizeSectors) << 9 }

  private static func text(_ types: PersistentMask<DataType>) -> String {
    types.isEmpty ? "(none)" : types.description
  }

  private func labelText(in superblock: Superblock) -> String {
    guard let groupIndex else { return "(none)" }
    let groups = superblock.section(of: DiskGroupsSection.self)?.groups ?? []
    guard groups.indices.contains(groupIndex) else { return "(bad disk labels section)" }
    return "\(SafeText.text(groups[groupIndex].label.name)) (\(groupIndex))"
  }
}

extension CryptSection {
  /// "KFD" is upstream's spelling.
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    out.printLine("KFD:               \(kdfType.rawValue)")
    out.printLine("scrypt n:          \(scryptN)")
    out.printLine("scrypt r:          \(scryptR)")
    out.printLine("scrypt p:          \(scryptP)")
  }
}

extension ReplicasV0Section {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    out.printLine(entries.map(\.descriptionV0).joined(separator: " "))
  }
}

extension ReplicasSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    out.printLine(entries.map(\.description).joined(separator: " "))
  }
}

extension QuotaSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    for (kind, limit) in zip(QuotaType.all.map(\.word), limits) {
      var line = "\(kind): flags \(String(limit.flags, radix: 16))"
      for (name, counter) in [("space", limit.space), ("inodes", limit.inodes)] {
        line += " \(name) timelimit \(counter.timeLimit) warnlimit \(counter.warnLimit)"
      }
      out.printLine(line)
    }
  }
}

extension DiskGroupsSection {
  /// Upstream does not end this line: the blank line after other sections is missing here.
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    let texts = groups.map { group in
      group.isDeleted
        ? "[deleted]"
        : "[parent \(group.parent.map { $0 + 1 } ?? 0) name \(SafeText.text(group.label.name))]"
    }
    out.print(texts.joined(separator: " "))
  }
}

extension CountersSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    for (index, value) in values.enumerated() {
      out.printLine("\(Self.name(index)) \t\(value)")
    }
  }

  static func name(_ index: Int) -> String {
    let name = UInt16(exactly: index).flatMap { PersistentCounter(rawValue: $0).name }
    return name.map { "\($0)" } ?? "(unknown)"
  }
}

extension ErrorsSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    if out.tabStopCount <= 1 { out.addTabStop(16) }
    for entry in counts {
      out.print("\(entry.id)")
      out.tab()
      out.print("\(entry.count)")
      out.tab()
      out.printLine(style.date(entry.lastErrorTime))
    }
  }
}

extension ExtSection {
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    let required = RecoveryPass.text(recoveryPassesRequired.first ?? 0)
    let silent = silentErrors.map(\.description).joined(separator: ",")
    let lost = lostBTrees.map(\.description).joined(separator: ",")
    out.printLine("Recovery passes required:\t\(required)")
    out.printLine("Errors to silently fix:\t\(silent)")
    out.printLine("Btrees with missing data:\t\(lost)")
  }

  /// The btrees that lost nodes, ascending.
  public var lostBTrees: [BTreeID] {
    let bits = btreesLostData ?? 0
    return (0..<UInt8(64)).filter { bits >> UInt64($0) & 1 != 0 }.map { BTreeID(rawValue: $0) }
  }
}

extension RecoveryPass {
  /// The names of a set of passes, in the order of running, those of newer formats last.
  static func text(_ stableBits: UInt64) -> String {
    names(stableBits).joined(separator: ",")
  }

  static func names(_ stableBits: UInt64) -> [String] {
    PersistentMask<RecoveryPass>(rawValue: stableBits).elements
      .sorted { ($0.order ?? .max, $0.rawValue) < ($1.order ?? .max, $1.rawValue) }
      .map(\.description)
  }
}

extension DowngradeSection {
  /// The tabs are not aligned, upstream's neither.
  public func print(
    into out: inout TextPrinter, in superblock: Superblock, style: SuperblockTextStyle
  ) {
    if out.tabStopCount <= 1 { out.addTabStop(16) }
    for entry in entries {
      out.printRaw("version:\t")
      out.printLine(entry.version.description)
      out.printRaw("recovery passes:\t")
      out.printLine(RecoveryPass.text(entry.recoveryPasses.first ?? 0))
      out.printRaw("errors:\t")
      out.printLine(entry.errors.map(\.description).joined(separator: ","))
    }
  }
}
