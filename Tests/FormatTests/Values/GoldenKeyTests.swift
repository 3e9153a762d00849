// SPDX-License-Identifier: GPL-2.0
// What the kernel wrote must be understood, found valid, printed as the kernel prints it, and come
// out of our encoders as the same bytes.

import BcachefsFormat
import Testing

struct GoldenKeyTests {
  @Test func goldenFilesCoverTheKernelsKeyTypes() {
    var types: Set<UInt8> = []
    for volume in GoldenVolume.all {
      for key in volume.keys { types.insert(key.header[2]) }
    }
    let expected: [BKeyType] = [
      .whiteout, .extent, .reservation, .inodeGeneration, .dirent, .xattr, .stripe, .reflinkP,
      .reflinkV, .inlineData, .indirectInlineData, .subvolume, .snapshot, .set, .allocV4,
      .backpointer, .inodeV3, .bucketGens, .snapshotTree, .accounting, .btreePtrV2, .quota,
    ]
    for type in expected { #expect(types.contains(type.rawValue), "\(type)") }
  }

  @Test(arguments: GoldenVolume.all)
  func keysPrintAsTheKernelPrintsThem(_ volume: GoldenVolume) throws {
    for golden in volume.keys where !golden.text.isEmpty {
      let key = try BKey(decoding: golden.header.raw)
      var text = BKeyValue.text(
        key: key, value: golden.value.raw, context: volume.context)
      while text.last == "\n" { text.removeLast() }
      var expected = golden.text
      while expected.last == "\n" { expected.removeLast() }
      #expect(text == expected)
    }
  }

  @Test(arguments: GoldenVolume.all)
  func keysOfTheKernelAreValid(_ volume: GoldenVolume) throws {
    for golden in volume.keys {
      let key = try BKey(decoding: golden.header.raw)
      let place = golden.btree.split(separator: ":")
      let row = try #require(BTreeID.table.first { "\($0.name)" == place[0] })
      do {
        try BKeyValue.validate(
          key: key, value: golden.value.raw, btree: row.id,
          level: place.count - 1,
          context: volume.context, flags: [.write, .commit])
      } catch {
        Issue.record("\(golden.text.prefix(80)): \(error)")
      }
    }
  }

  @Test(arguments: GoldenVolume.all)
  func keysAreEncodedAsTheKernelEncodedThem(_ volume: GoldenVolume) throws {
    for golden in volume.keys {
      let key = try BKey(decoding: golden.header.raw)
      var header = [UInt8](repeating: 0xaa, count: 40)
      header.withMutableRaw { key.encode(into: &$0) }
      #expect(header == golden.header)
      let encoded = try reencode(key: key, value: golden.value.raw)
      #expect(encoded == golden.value, "\(golden.text.prefix(80))")
    }
  }

  @Test(arguments: GoldenVolume.all)
  func accountingPositionsSurviveDecoding(_ volume: GoldenVolume) throws {
    for golden in volume.keys where golden.btree == "accounting" {
      let key = try BKey(decoding: golden.header.raw)
      #expect(AccountingKey(key.position)?.position == key.position)
    }
  }

  @Test(arguments: GoldenVolume.all)
  func backpointersStandWhereTheirBucketSays(_ volume: GoldenVolume) throws {
    for golden in volume.keys where golden.btree == "backpointers" {
      let key = try BKey(decoding: golden.header.raw)
      let value = try Backpointer(decoding: golden.value.raw)
      let device = try #require(volume.context.device(key.position.inode))
      let bucket = Positions.bucket(
        ofBackpointer: key.position, bucketSizeSectors: device.bucketSizeSectors)
      let position = Positions.backpointer(
        bucket: bucket, bucketSizeSectors: device.bucketSizeSectors,
        bucketOffset: value.bucketOffset)
      #expect(position == key.position)
    }
  }
}

/// Decodes a value and encodes it again through the public encoders into fresh zeroes. (Old
/// alloc_v4 values keep their bytes: upstream upgrades them when it changes them.)
func reencode(key: BKey, value: RawSpan) throws -> [UInt8] {
  var result = [UInt8](repeating: 0, count: 4096)
  var bytes = result.mutableSpan
  var out = unsafe bytes.mutableBytes
  var u64s = value.byteCount / 8
  switch key.type {
  case .extent, .btreePtr: u64s = try copyEntries(key: key, value: value, head: 0, to: &out)
  case .btreePtrV2:
    try BTreePtrV2(decoding: value).encode(into: &out)
    u64s = try copyEntries(key: key, value: value, head: 40, to: &out)
  case .reflinkV:
    try ReflinkHead(decoding: value).encode(into: &out)
    u64s = try copyEntries(key: key, value: value, head: 8, to: &out)
  case .reservation: try Reservation(decoding: value).encode(into: &out)
  case .cookie: try Cookie(decoding: value).encode(into: &out)
  case .inodeGeneration: try InodeGeneration(decoding: value).encode(into: &out)
  case .inodeV3:
    let inode = try Inode(key: key, value: value)
    u64s = inode.encodedU64s
    inode.encode(into: &out)
  case .dirent:
    let dirent = try Dirent(decoding: value)
    u64s = try Dirent.encode(
      target: dirent.target, type: dirent.type, name: dirent.name,
      foldedName: dirent.foldedName, into: &out)
  case .xattr:
    let xattr = try Xattr(decoding: value)
    u64s = try Xattr.encode(
      type: xattr.type, name: xattr.name, value: xattr.value, into: &out)
  case .stripe: u64s = try copyStripe(value, to: &out)
  case .reflinkP: try ReflinkP(decoding: value).encode(into: &out)
  case .inlineData, .indirectInlineData:
    let inline = try InlineData(key: key, value: value)
    u64s = try InlineData.encode(inline.data, refcount: inline.refcount, into: &out)
  case .subvolume:
    // What newer versions have added stays.
    copy(value, to: &out)
    try Subvolume(decoding: value).encode(into: &out)
  case .snapshot:
    copy(value, to: &out)
    try Snapshot(decoding: value).encode(into: &out)
  case .snapshotTree: try SnapshotTree(decoding: value).encode(into: &out)
  case .quota: try Quota(decoding: value).encode(into: &out)
  case .loggedOpTruncate: try LoggedOpTruncate(decoding: value).encode(into: &out)
  case .loggedOpFinsert: try LoggedOpFinsert(decoding: value).encode(into: &out)
  case .lru: try LRUValue(decoding: value).encode(into: &out)
  case .backpointer: try Backpointer(decoding: value).encode(into: &out)
  case .allocV4:
    if value.byteCount >= 12, value.byte(8) >> 2 == 8, value.byte(9) == 0 {
      try AllocV4(decoding: value).encode(into: &out)
    } else {
      copy(value, to: &out)
    }
  case .bucketGens:
    let gens = try BucketGens(decoding: value)
    for index in 0..<BucketGens.count { BucketGens.set(index, to: gens[index], in: &out) }
  case .accounting:
    let counters = try Accounting(decoding: value)
    u64s =
      counters.count == 1
      ? Accounting.encode(counters[0], into: &out)
      : Accounting.encode(counters[0], counters[1], counters[2], into: &out)
  default: copy(value, to: &out)
  }
  return Array(result.prefix(u64s * 8))
}

extension RawSpan {
  func byte(_ offset: Int) -> UInt8 { self[LEField<UInt8>(offset)] }
}

private func copy(_ value: RawSpan, to out: inout MutableRawSpan) {
  for at in 0..<value.byteCount { out[LEField<UInt8>(at)] = value.byte(at) }
}

private func copyEntries(
  key: BKey, value: RawSpan, head: Int, to out: inout MutableRawSpan
) throws -> Int {
  var writer = ExtentWriter(at: head)
  let entries = try ExtentEntries(key: key, value: value)
  var iterator = entries.entries
  while let entry = iterator.next() {
    // The narrowest kind must be the one that the kernel chose.
    if case .crc(let crc, let kind) = entry {
      let start = writer.byteOffset
      try writer.append(crc, to: &out)
      // Bit 23 of crc32 means nothing: the kernel leaves there what its memory held.
      if kind == .crc32 {
        out[LEField<UInt8>(start + 2)] |= value.byte(start + 2) & 0x80
      }
    } else {
      try writer.append(entry, to: &out)
    }
  }
  return writer.encodedU64s
}

private func copyStripe(_ value: RawSpan, to out: inout MutableRawSpan) throws -> Int {
  let stripe = try Stripe(decoding: value)
  let head = stripe.head
  head.encode(into: &out)
  for block in 0..<Int(head.blockCount) {
    if let ptr = stripe.pointer(block: block) { try Stripe.set(ptr, block: block, in: &out) }
    for index in 0..<head.checksumsPerBlock {
      if let checksum = stripe.checksum(block: block, index: index) {
        try Stripe.set(checksum, block: block, index: index, head: head, in: &out)
      }
    }
    if let sectors = stripe.sectorsInUse(block: block) {
      try Stripe.set(sectorsInUse: sectors, block: block, head: head, in: &out)
    }
  }
  return head.encodedU64s
}
