// SPDX-License-Identifier: GPL-2.0
// All key types behind one door: is this key valid, and what does it say.
//
// How it works
//   First the rules for keys as such (`__bch2_bkey_validate`): what may stand in a btree, with a
//   size or not, in a snapshot or not. Then the least size of a value of its type, then the type's
//   own rules. Types of newer versions pass: they are carried along.
//
// Invariants
//   (1) No bytes make any of these functions trap or run longer than their number.
// Source: bcachefs bkey_methods.c.

/// Validation and text of any key.
public enum BKeyValue {
  /// Checks a key against the rules of its btree and its type (`bch2_bkey_validate`).
  ///
  /// - Parameters:
  ///   - value: Exactly the key's value.
  ///   - btree: Where the key is. For btrees of newer versions only the value is checked.
  ///   - level: 0 for leaves; above, keys point to btree nodes.
  ///   - context: The volume, for rules that depend on it.
  ///   - flags: What the key is checked for.
  /// - Throws: With upstream's `fsckError`.
  public static func validate(
    key: BKey, value: RawSpan, btree: BTreeID, level: Int, context: BKeyContext = .none,
    flags: BKeyValidation = []
  ) throws(FormatError) {
    try validateKey(key, btree: btree, level: level, flags: flags)
    try validateValue(key: key, value: value, context: context, flags: flags)
  }

  /// The rules for the key alone (`__bch2_bkey_validate`).
  public static func validateKey(
    _ key: BKey, btree: BTreeID, level: Int, flags: BKeyValidation = []
  ) throws(FormatError) {
    guard Int(key.u64s) >= BKey.headerU64s else {
      throw bad("u64s", UInt64(key.u64s), .bkey_u64s_too_small)
    }
    let isInterior = level > 0
    guard isInterior || btree.isKnown else { return }
    let row = isInterior ? nil : btree.row
    if key.type.isKnown, isInterior || flags.contains(.commit) {
      let allowed =
        row?.keyTypes ?? (1 << BKeyType.btreePtr.rawValue | 1 << BKeyType.btreePtrV2.rawValue)
      guard key.type == .deleted || allowed & 1 << UInt64(key.type.rawValue) != 0 else {
        throw bad("type", UInt64(key.type.rawValue), .bkey_invalid_type_for_btree)
      }
    }
    let isWhiteout = key.type == .deleted || key.type == .whiteout
    if row?.flags.contains(.extents) == true, !isWhiteout {
      guard key.size != 0 else { throw bad("size", 0, .bkey_extent_size_zero) }
      guard UInt64(key.size) <= key.position.offset else {
        throw FormatError(
          .tooLarge, "bkey", "size", found: UInt64(key.size), expected: key.position.offset,
          fsckError: .bkey_extent_size_greater_than_offset)
      }
    } else {
      guard key.size == 0 else { throw bad("size", UInt64(key.size), .bkey_size_nonzero) }
    }
    guard let row else { return }
    if row.flags.contains(.snapshots) {
      guard key.position.snapshot != 0 else { throw bad("snapshot", 0, .bkey_snapshot_zero) }
    } else if !row.flags.contains(.snapshotField) {
      guard key.position.snapshot == 0 else {
        throw bad("snapshot", UInt64(key.position.snapshot), .bkey_snapshot_nonzero)
      }
    }
    // Comparison upstream is of inode and offset only.
    guard key.position.inode != .max || key.position.offset != .max else {
      throw bad("p", .max, .bkey_at_pos_max)
    }
  }

  /// The rules of the key's type (`bch2_bkey_val_validate`).
  public static func validateValue(
    key: BKey, value: RawSpan, context: BKeyContext = .none, flags: BKeyValidation = []
  ) throws(FormatError) {
    let least = minValueByteCount(key.type)
    guard value.byteCount >= least else { throw .tooSmall("bkey", value.byteCount, least) }
    switch key.type {
    // From 1.34 on an error has a value that says why.
    case .error: break
    case .hashWhiteout, .set:
      guard value.byteCount == 0 else {
        throw bad("u64s", UInt64(value.byteCount), .bkey_val_size_nonzero)
      }
    case .btreePtr, .extent, .reflinkV, .btreePtrV2, .stripe:
      try validatePointers(key: key, value: value, context: context, flags: flags)
    case .reservation: try Reservation(decoding: value).validate()
    case .inode, .inodeV2, .inodeV3: try Inode.validate(key: key, value: value)
    case .inodeGeneration: try InodeGeneration.validate(key: key)
    case .dirent: try Dirent(decoding: value).validate(key: key, flags: flags)
    case .xattr: try Xattr(decoding: value).validate()
    case .alloc, .allocV2, .allocV3: _ = try AllocV4(key: key, value: value)
    case .allocV4: try AllocV4.validate(value, flags: flags)
    case .quota: try Quota.validate(key: key)
    case .reflinkP: try ReflinkP(decoding: value).validate()
    case .subvolume: try Subvolume(decoding: value).validate(key: key)
    case .snapshot: try Snapshot(decoding: value).validate(key: key)
    case .snapshotTree: try SnapshotTree(decoding: value).validate(key: key)
    case .lru: try LRUValue.validate(key: key)
    case .backpointer: try Backpointer(decoding: value).validate(key: key, context: context)
    case .bucketGens: _ = try BucketGens(decoding: value)
    case .accounting: try Accounting.validate(key: key, context: context)
    // deleted, whiteout, cookie, inline data, logged operations; and types of newer versions.
    default: break
    }
  }

  private static func validatePointers(
    key: BKey, value: RawSpan, context: BKeyContext, flags: BKeyValidation
  ) throws(FormatError) {
    let u64s = value.byteCount / 8
    switch key.type {
    case .btreePtr:
      guard u64s <= ValueTables.maxReplicas else {
        throw FormatError(
          .tooLarge, "bch_btree_ptr", "u64s", found: UInt64(u64s),
          expected: UInt64(ValueTables.maxReplicas), fsckError: .btree_ptr_val_too_big)
      }
    case .btreePtrV2:
      try BTreePtrV2(decoding: value).validate(key: key, valueU64s: u64s, flags: flags)
    case .stripe: try Stripe(decoding: value).validate(key: key)
    default: break
    }
    try ExtentEntries(key: key, value: value).validate(key: key, context: context, flags: flags)
  }

  /// The least bytes of a value of a type, 0 for types without a rule (`bkey_ops.min_val_size`).
  public static func minValueByteCount(_ type: BKeyType) -> Int {
    switch type {
    case .cookie, .reservation, .inodeGeneration, .xattr, .alloc, .allocV2, .stripe, .reflinkV,
      .indirectInlineData, .lru, .snapshotTree, .accounting:
      8
    case .inode, .dirent, .allocV3, .reflinkP, .subvolume: 16
    case .snapshot, .loggedOpTruncate, .loggedOpFinsert: 24
    case .quota, .inodeV2, .backpointer: 32
    case .btreePtrV2: 40
    case .allocV4, .inodeV3: 48
    default: 0
    }
  }

  private static func bad(
    _ field: StaticString, _ found: UInt64, _ error: FsckErrorID
  ) -> FormatError {
    FormatError(.invalid, "bkey", field, found: found, fsckError: error)
  }
}

// MARK: - Text

extension BKeyValue {
  /// The key's whole text, header and value (`bch2_bkey_val_to_text`).
  public static func text(key: BKey, value: RawSpan, context: BKeyContext = .none) -> String {
    value.byteCount == 0
      ? key.description : "\(key): \(valueText(key: key, value: value, context: context))"
  }

  /// The value's text (`bch2_val_to_text`): empty for types without one, the error's text for a
  /// value that cannot be decoded.
  public static func valueText(
    key: BKey, value: RawSpan, context: BKeyContext = .none
  ) -> String {
    do {
      return try decodedText(key: key, value: value, context: context)
    } catch {
      switch key.type {
      case .inode, .inodeV2, .inodeV3: return "(unpack error)"
      default: return "(\(error))"
      }
    }
  }

  /// The key's whole text in bytes: names and attributes as they are, which need not be UTF-8.
  public static func textBytes(
    key: BKey, value: RawSpan, context: BKeyContext = .none
  ) -> [UInt8] {
    value.byteCount == 0
      ? Array(key.description.utf8)
      : Array("\(key): ".utf8) + valueTextBytes(key: key, value: value, context: context)
  }

  /// As `valueText`, in bytes.
  public static func valueTextBytes(
    key: BKey, value: RawSpan, context: BKeyContext = .none
  ) -> [UInt8] {
    if key.type == .dirent, let dirent = try? Dirent(decoding: value) { return dirent.textBytes }
    if key.type == .xattr, let xattr = try? Xattr(decoding: value) { return xattr.textBytes }
    return Array(valueText(key: key, value: value, context: context).utf8)
  }

  private static func decodedText(
    key: BKey, value: RawSpan, context: BKeyContext
  ) throws(FormatError) -> String {
    switch key.type {
    case .cookie: return try Cookie(decoding: value).description
    case .btreePtr, .extent:
      return try ExtentEntries(key: key, value: value).text(context: context)
    case .btreePtrV2:
      let head = try BTreePtrV2(decoding: value)
      return "\(head) \(try ExtentEntries(key: key, value: value).text(context: context))"
    case .reflinkV:
      let head = try ReflinkHead(decoding: value)
      return "refcount: \(head.refcount) "
        + (try ExtentEntries(key: key, value: value).text(context: context))
    case .reservation: return try Reservation(decoding: value).description
    case .inode, .inodeV2, .inodeV3: return try Inode(key: key, value: value).description
    case .inodeGeneration: return try InodeGeneration(decoding: value).description
    case .dirent: return try Dirent(decoding: value).description
    case .xattr: return try Xattr(decoding: value).description
    case .alloc, .allocV2, .allocV3, .allocV4:
      return try AllocV4(key: key, value: value).text(device: allocDevice(key, context))
    case .quota: return try Quota(decoding: value).description
    case .stripe: return try Stripe(decoding: value).text(context: context)
    case .reflinkP: return try ReflinkP(decoding: value).description
    case .inlineData, .indirectInlineData:
      return try InlineData(key: key, value: value).description
    case .subvolume: return try Subvolume(decoding: value).text(byteCount: value.byteCount)
    case .snapshot: return try Snapshot(decoding: value).text(byteCount: value.byteCount)
    case .snapshotTree: return try SnapshotTree(decoding: value).description
    case .lru: return try LRUValue(decoding: value).description
    case .backpointer:
      guard let shift = context.backpointerShift else {
        return backpointerText(try Backpointer(decoding: value), key, context)
      }
      return try Backpointer.newerText(
        key: key, value: value, shift: shift, device: context.device(key.position.inode))
    case .bucketGens: return try BucketGens(decoding: value).description
    case .loggedOpTruncate: return try LoggedOpTruncate(decoding: value).description
    case .loggedOpFinsert: return try LoggedOpFinsert(decoding: value).description
    case .accounting: return try Accounting(decoding: value).text(key: key, context: context)
    default: return ""
    }
  }

  /// The device of a bucket's key, if the bucket exists there.
  private static func allocDevice(_ key: BKey, _ context: BKeyContext) -> BKeyContext.Device? {
    guard let device = context.device(key.position.inode),
      key.position.offset >= device.firstBucket, key.position.offset < device.bucketCount
    else { return nil }
    return device
  }

  private static func backpointerText(
    _ backpointer: Backpointer, _ key: BKey, _ context: BKeyContext
  ) -> String {
    guard let device = context.device(key.position.inode) else { return backpointer.description }
    let bucket = Positions.bucket(
      ofBackpointer: key.position, bucketSizeSectors: device.bucketSizeSectors)
    return "bucket=\(bucket) \(backpointer)"
  }
}
