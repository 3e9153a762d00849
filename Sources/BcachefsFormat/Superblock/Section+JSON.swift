// SPDX-License-Identifier: GPL-2.0
// Each section of the superblock for `--json`: every field, numbers as numbers.
//
// Invariants
//   (1) Names are upstream's, and stand once in an object.
//   (2) No key material is printed.

internal import BcachefsSupport

extension JournalBucketsSection {
  public var json: JSONValue { .object([.init("buckets", .array(buckets.map { .integer($0) }))]) }
}

extension JournalBucketRangesSection {
  public var json: JSONValue {
    .object([
      .init(
        "ranges",
        .array(
          ranges.map {
            .object([.init("start", .integer($0.start)), .init("nr", .integer($0.count))])
          }))
    ])
  }
}

extension JournalSeqBlacklistSection {
  public var json: JSONValue {
    .object([
      .init(
        "ranges",
        .array(
          ranges.map {
            .object([.init("start", .integer($0.start)), .init("end", .integer($0.end))])
          }))
    ])
  }
}

extension MembersV1Section {
  public var json: JSONValue {
    .object([.init("members", .array(members.map { $0.json(byteCount: Member.v1ByteCount) }))])
  }
}

extension MembersV2Section {
  public var json: JSONValue {
    .object([
      .init("member_bytes", .number(memberByteCount)),
      .init("members", .array(members.map { $0.json(byteCount: Int(memberByteCount)) })),
    ])
  }
}

extension Member {
  /// Only the fields that `byteCount` bytes reach.
  func json(byteCount: Int) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("uuid", .string(uuid.description)),
      .init("nbuckets", .integer(bucketCount)),
      .init("first_bucket", .number(firstBucket)),
      .init("bucket_size_sectors", .number(bucketSizeSectors)),
      .init("btree_bitmap_shift", .number(btreeBitmapShift)),
      .init("last_mount", .integer(lastMount)),
      .init("flags", .integer(flags)),
      .init("state", .string(state.description)),
      .init("discard", .bool(discard)),
      .init("data_allowed", .texts(dataAllowed.elements)),
      .init("group", groupIndex.map { .integer(UInt64($0)) } ?? .null),
      .init("durability", .number(durability)),
      .init("freespace_initialized", .bool(freespaceInitialized)),
    ]
    let kinds = byteCount >= Layout.errors.offset ? iops.count : 2
    members.append(
      .init("iops", Self.table(IOPSMeasurement.all.prefix(kinds), iops.map { UInt64($0) })))
    guard byteCount >= Layout.byteCount else { return .object(members) }
    members += [
      .init("errors", Self.table(MemberErrorType.all, errors)),
      .init("errors_at_reset", Self.table(MemberErrorType.all, errorsAtReset)),
      .init("errors_reset_time", .integer(errorsResetTime)),
      .init("seq", .integer(seq)),
      .init("btree_allocated_bitmap", .integer(btreeAllocatedBitmap)),
      .init("last_journal_bucket", .number(lastJournalBucket)),
      .init("last_journal_bucket_offset", .number(lastJournalBucketOffset)),
    ]
    if !tail.isEmpty { members.append(.init("tail", JSONBytes.text(tail))) }
    return .object(members)
  }

  private static func table(
    _ names: some Sequence<some CustomStringConvertible>, _ values: [UInt64]
  ) -> JSONValue {
    .object(zip(names, values).map { .init($0.description, .integer($1)) })
  }
}

/// Bytes without a meaning here, as hexadecimal text.
enum JSONBytes {
  static func text(_ bytes: some Sequence<UInt8>) -> JSONValue {
    .string(bytes.hexadecimal)
  }
}

extension CryptSection {
  /// The key itself is left out, so that output can be shown around; it is worth nothing without
  /// the passphrase, unless it is not encrypted.
  public var json: JSONValue {
    .object([
      .init("flags", .integer(flags)),
      .init("kdf_type", .string(kdfType.description)),
      .init("kdf_flags", .integer(kdfFlags)),
      .init("scrypt_n", .integer(scryptN)),
      .init("scrypt_r", .integer(scryptR)),
      .init("scrypt_p", .integer(scryptP)),
      .init("key_encrypted", .bool(isKeyEncrypted)),
    ])
  }
}

extension ReplicasEntry {
  var json: JSONValue {
    .object([
      .init("data_type", .string(dataType.description)),
      .init("nr_required", .number(requiredCount)),
      .init("devs", .array(devices.map { .number($0) })),
    ])
  }
}

extension ReplicasV0Section {
  public var json: JSONValue { .object([.init("entries", .array(entries.map(\.json)))]) }
}

extension ReplicasSection {
  public var json: JSONValue { .object([.init("entries", .array(entries.map(\.json)))]) }
}

extension QuotaSection {
  public var json: JSONValue {
    func counter(_ counter: QuotaLimits.Counter) -> JSONValue {
      .object([
        .init("timelimit", .number(counter.timeLimit)),
        .init("warnlimit", .number(counter.warnLimit)),
      ])
    }
    return .object(
      zip(QuotaType.all.map(\.word), limits).map { name, limit in
        .init(
          name,
          .object([
            .init("flags", .integer(limit.flags)), .init("space", counter(limit.space)),
            .init("inodes", counter(limit.inodes)),
          ]))
      })
  }
}

extension DiskGroupsSection {
  public var json: JSONValue {
    let groups = groups.enumerated().map { index, group in
      JSONValue.object([
        .init("label", .string(group.label.text)),
        .init("path", path(of: index).map { .string($0) } ?? .null),
        .init("parent", group.parent.map { .integer(UInt64($0)) } ?? .null),
        .init("deleted", .bool(group.isDeleted)),
        .init("flags", .array([.integer(group.flags), .integer(group.flags1)])),
      ])
    }
    return .object([.init("groups", .array(groups))])
  }
}

extension CleanSection {
  public var json: JSONValue {
    let entries = entries.filter { !$0.isEmptyKeys }.map { entry in
      var out = TextPrinter()
      entry.print(into: &out, style: SuperblockTextStyle())
      return JSONValue.object([
        .init("type", .string(entry.type.description)),
        .init("btree_id", .number(entry.btreeID.rawValue)),
        .init("level", .number(entry.level)),
        .init("u64s", .integer(UInt64(entry.payload.count / 8))),
        .init("text", .string(out.text)),
      ])
    }
    return .object([
      .init("flags", .number(flags)),
      .init("read_clock", .number(readClock)),
      .init("write_clock", .number(writeClock)),
      .init("journal_seq", .integer(journalSeq)),
      .init("entries", .array(entries)),
    ])
  }
}

extension CountersSection {
  public var json: JSONValue {
    .object(
      values.enumerated().map { index, value in
        let name = Self.name(index)
        return .init(name == "(unknown)" ? "counter_\(index)" : name, .integer(value))
      })
  }
}

extension ErrorsSection {
  public var json: JSONValue {
    .object([
      .init(
        "entries",
        .array(
          counts.map {
            .object([
              .init("id", .number($0.id.rawValue)), .init("name", .string($0.id.description)),
              .init("nr", .integer($0.count)),
              .init("last_error_time", .integer($0.lastErrorTime)),
            ])
          }))
    ])
  }
}

extension ExtSection {
  public var json: JSONValue {
    .object([
      .init(
        "recovery_passes_required",
        .array(
          RecoveryPass.names(recoveryPassesRequired.first ?? 0).map { .string($0) })),
      .init("recovery_passes_required_bits", .array(recoveryPassesRequired.map { .integer($0) })),
      .init("errors_silent", .texts(silentErrors)),
      .init("btrees_lost_data", .texts(lostBTrees)),
    ])
  }
}

extension DowngradeSection {
  public var json: JSONValue {
    .object([
      .init(
        "entries",
        .array(
          entries.map { entry in
            .object([
              .init("version", .string(entry.version.number)),
              .init(
                "recovery_passes",
                .array(
                  RecoveryPass.names(entry.recoveryPasses.first ?? 0).map { .string($0) })),
              .init("recovery_passes_bits", .array(entry.recoveryPasses.map { .integer($0) })),
              .init("errors", .texts(entry.errors)),
            ])
          }))
    ])
  }
}
