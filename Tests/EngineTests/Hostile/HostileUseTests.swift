// SPDX-License-Identifier: GPL-2.0
// Keys that somebody made to do harm to those who use a volume long after it was opened: they get
// errors, or go on, and never trap or turn in circles.

internal import BcachefsFormat
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct HostileUseTests {
  /// Places keys; nothing follows from them.
  private func damage(
    _ engine: Engine, _ body: (Transaction) throws(TransactionError) -> Void
  ) throws {
    try engine.run("test_damage") { (transaction) throws(TransactionError) in
      try body(transaction)
      try transaction.commit()
    }
  }

  private func place(
    _ engine: Engine, _ btree: BTreeID, _ type: BKeyType, _ position: BPos, size: UInt32,
    _ value: [UInt8]
  ) throws {
    try damage(engine) { (transaction) throws(TransactionError) in
      transaction.update(
        btree, BKey(type: type, position: position, size: size, valueU64s: value.count / 8),
        value.rawBytes, flags: .noTriggers)
    }
  }

  /// Promises sectors to a file; no counter follows.
  private func reserve(_ files: FileSystem, _ id: FileID, _ sectors: Range<UInt64>) throws {
    var value = [UInt8](repeating: 0, count: Reservation.encodedU64s * 8)
    var span = value.mutableRawBytes
    Reservation(replicas: 1).encode(into: &span)
    try place(
      files.engine, .extents, .reservation, BPos(id.inode, sectors.upperBound, .max),
      size: UInt32(sectors.count), value)
  }

  private func bytes(_ count: Int, _ seed: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 / 4099 &+ seed) }
  }

  // MARK: - Counters

  @Test(arguments: [Int64(1) << 62, Int64.max - 1 << 20])
  func noCountOfADeviceExceedsWhatItHas(count: Int64) throws {
    let setting = FreshVolume(testDescription: "two devices") { $0.sizes = [64 << 20, 32 << 20] }
    let devices = try setting.format()
    let engine = try setting.engine(on: devices).engine
    defer { engine.letGo() }
    let types: [DataType] = [
      .free, .sb, .journal, .btree, .user, .cached, .stripe, .needGcGens, .needDiscard,
    ]
    try damage(engine) { (transaction) throws(TransactionError) in
      for device in UInt8(0)..<2 {
        for type in types {
          transaction.account(
            .deviceDataType(device: device, dataType: type.rawValue), [count, 0, count])
        }
      }
    }
    for device in UInt8(0)..<2 {
      let member = try #require(engine.media.member(device))
      for type in types {
        #expect(engine.usage.buckets(type, of: device) == member.bucketCount)
      }
      #expect(engine.usage.availableBuckets(of: device) == 4 * member.bucketCount)
      #expect(
        engine.usage.fragmentedSectors(of: device)
          == 3 * member.bucketCount * member.bucketSizeSectors)
    }
    #expect(engine.usage.capacity == 0 && engine.usage.available == 0)
    #expect(engine.copygcWait == 0)
    #expect(engine.areGenerationsDue)
    #expect(try !engine.collectNow(on: [0, 1], goal: 4))
  }

  // MARK: - Btrees

  @Test func aRootOfTheHighestLevelIsNotSplit() throws {
    let engine = try BareEngine(nodeBytes: 4096).engine
    defer { engine.letGo() }
    let level = BTreeNodeHeader.maxDepth - 1
    let root = engine.trees.cache.take()
    root.becomeEmpty(.xattrs, level: level, sequence: engine.nextNodeSequence())
    var count: UInt64 = 0
    while root.hasRoom(words: NodePointer.wordsMax) {
      count += 1
      let pointer = try NodePointer(
        maxKey: BPos(0, count, .max), sequence: count, sectorsWritten: 8, minKey: .min,
        places: [ExtentPtr(device: 0, offset: count * 8, generation: 0)])
      pointer.withWords { words in
        unsafe words.withUnsafeBytes { raw in
          unsafe root.put(pointer.key, raw.baseAddress.map { unsafe $0 + BKey.Layout.byteCount })
        }
      }
    }
    root.set(.dirty)
    engine.trees.setRoot(root)
    root.lock.unlockWrite()
    root.lock.unlockIntent()
    expectCode(.limit) { () throws(VolumeError) in
      try engine.run("test_split") { (transaction) throws(TransactionError) in
        var reserve = NodeReserve()
        _ = try transaction.replace(
          RoomNeeded(
            btree: .xattrs, level: level, position: BPos(0, count / 2), words: 20), &reserve)
      }
    }
  }

  // MARK: - Moving data

  @Test func anUnreadableCopyOnADeviceThatIsNoMemberIsNotCounted() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let engine = files.engine
    let id = try files.makeFile("data")
    try files.write(id, bytes(16 << 10, 1).rawBytes, at: 0)
    try files.sync()
    let extent = try #require(try files.places(of: id).first)
    let position = BPos(id.inode, extent.sectors.upperBound, .max)
    try damage(engine) { (transaction) throws(TransactionError) in
      guard let found = try transaction.lookup(.extents, position, .intent),
        var parts = try transaction.parts(of: found)
      else { throw .failed(VolumeError(.notFound)) }
      parts.pointers[0].crc.checksum = Checksum128(lo: 1, hi: 0)
      for device in [UInt8(64), 255] {
        var other = parts.pointers[0]
        other.ptr.device = device
        parts.pointers.append(other)
      }
      var value = [UInt8](repeating: 0, count: 128)
      var span = value.mutableRawBytes
      var key = found.key
      do throws(FormatError) {
        key.u64s = UInt8(BKey.headerU64s + (try parts.encode(into: &span, at: 0)))
      } catch {
        throw .failed(VolumeError(error))
      }
      transaction.update(
        .extents, key, value.rawBytes.extracting(first: key.valueByteCount), flags: .noTriggers)
    }
    let pointer = try #require(extent.pointers.first)
    let bucket = try #require(engine.media.member(0)?.bucket(ofSector: pointer.offset))
    let outcome = try ExtentMover(engine).move(
      Backpointer(
        btree: .extents, level: 0, dataType: DataType.user.rawValue, bucketOffset: 0,
        bucketLength: 32, position: position),
      from: Positions.bucket(device: 0, bucket: bucket), generation: pointer.generation)
    guard case .impossible = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(engine.store.memberErrors.count(.checksum, member: 0) == 1)
    try disk.letGo(files)
  }

  // MARK: - Shared data

  private func placeIndirect(_ files: FileSystem, _ inode: UInt64, _ end: UInt64) throws {
    var value = [UInt8](repeating: 0, count: 16)
    value[0] = 1
    try place(files.engine, .reflink, .indirectInlineData, BPos(inode, end), size: 1, value)
  }

  @Test func indirectExtentsWhereNoneBelongAreNoPartOfOthers() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let (source, copy) = (try files.makeFile("source"), try files.makeFile("copy"))
    for end in UInt64(1)...40 { try placeIndirect(files, 1, end) }
    var pointer = [UInt8](repeating: 0, count: ReflinkP.encodedU64s * 8)
    var span = pointer.mutableRawBytes
    ReflinkP(index: 1000).encode(into: &span)
    try place(
      files.engine, .extents, .reflinkP, BPos(source.inode, 8, .max), size: 8, pointer)
    try files.truncate(source, to: 4096)
    expectCode(.corrupt) { () throws(VolumeError) in
      try files.copyRange(from: source, 0..<4096, to: copy, at: 0)
    }
    expectCode(.corrupt) { () throws(VolumeError) in
      try files.write(source, bytes(4096, 1).rawBytes, at: 0)
      try files.fsync(source)
    }
    try disk.letGo(files)
  }

  @Test func newIndirectExtentsDoNotGoOverOthers() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    var copies: [FileID] = []
    for number in 0..<3 {
      let source = try files.makeFile("source \(number)")
      try files.write(source, bytes(32 << 10, number).rawBytes, at: 0)
      copies.append(try files.makeFile("copy \(number)"))
      _ = try files.copyRange(from: source, 0..<32 << 10, to: copies[number], at: 0)
      // It seems to be the last one.
      try placeIndirect(files, 1, UInt64(number) + 1)
    }
    for (number, copy) in copies.enumerated() {
      #expect(try files.contents(of: copy) == bytes(32 << 10, number))
    }
    try disk.letGo(files)
  }

  // MARK: - Overlapping keys

  @Test func overlappingKeysAreNotCountedTwiceByQuotas() throws {
    let files = try QuotaVolume.make().open()
    let id = try files.makeOwnedFile("a")
    try reserve(files, id, 0..<8)
    try reserve(files, id, 0..<16)
    let quotas = try #require(files.engine.quotas)
    let found = try files.engine.unallocatedSectors(of: id, [0..<4096, 0..<16384], quotas)
    #expect(try #require(found).sectors <= 16)
    try files.write(id, sectors: 8)
    files.engine.letGo()
  }

  @Test(.timeLimit(.minutes(1)))
  func overlappingKeysAreNotWrittenInPlaceForEver() throws {
    let disk = try OpenFileSystem({ $0.build.options[.nocow] = 1 })
    let files = try disk.open()
    let id = try files.makeFile("data")
    try files.change(id, 0..<16 * 512, .allocate)
    try #require(try files.places(of: id).unwrittenSectors == 16)
    try reserve(files, id, 0..<1)
    let wanted = bytes(16 * 512, 3)
    try files.write(id, wanted.rawBytes, at: 0)
    try files.fsync(id)
    #expect(try files.contents(of: id) == wanted)
    #expect(try files.places(of: id).unwrittenSectors == 0)
    try disk.letGo(files)
  }

  // MARK: - Inodes

  private func change(
    _ files: FileSystem, _ id: FileID, _ body: (inout Inode) -> Void
  ) throws {
    var inode = try files.attributes(of: id).inode
    body(&inode)
    try damage(files.engine) { [inode] (transaction) throws(TransactionError) in
      transaction.put(inode, inode.snapshot)
    }
  }

  @Test(arguments: [UInt64.max, UInt64.max - 4094, UInt64(1) << 63])
  func sizesThatNoFileHasAreCorrupt(size: UInt64) throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let id = try files.makeFile("data")
    try change(files, id) { $0.size = size }
    #expect(try files.attributes(of: id).inode.size == size)
    let zeros = HeapBuffer(byteCount: 10)
    expectCode(.corrupt) { () throws(VolumeError) in try files.write(id, zeros.bytes, at: 0) }
    expectCode(.corrupt) { () throws(VolumeError) in try files.truncate(id, to: 0) }
    expectCode(.corrupt) { () throws(VolumeError) in try files.change(id, 0..<4096, .insert) }
    try files.unlink(Array("data".utf8), in: files.root)
    try files.close()
    try expectSound(disk.device)
  }

  @Test func moreSectorsThanThereAreAreShownAsTheyAre() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let id = try files.makeFile("data")
    try change(files, id) { $0.sectors = .max }
    let zeros = HeapBuffer(byteCount: 10)
    try files.write(id, zeros.bytes, at: 0)
    #expect(try files.attributes(of: id).inode.sectors == .max)
    try disk.letGo(files)
  }
}
