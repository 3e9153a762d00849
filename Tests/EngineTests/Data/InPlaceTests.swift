// SPDX-License-Identifier: GPL-2.0
// Files with `nocow`: overwrites stay where the data is, as long as nobody else sees it, and what
// was only allocated reads as zeros until it is written.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct InPlaceTests {
  static let settings: [FreshVolume] = [
    FreshVolume(testDescription: "nocow") { $0.build.options[.nocow] = 1 },
    FreshVolume(testDescription: "blocks of 4 KiB, encrypted") {
      $0.build.options[.nocow] = 1
      $0.build.options[.blockSize] = 4096
      $0.build.encryption = .passphrase(Array("secret".utf8))
      $0.passphrase = "secret"
    },
    FreshVolume(testDescription: "two replicas of three devices") {
      $0.sizes = [32 << 20, 32 << 20, 32 << 20]
      $0.build.options[.nocow] = 1
      $0.build.options[.dataReplicas] = 2
      $0.build.options[.metadataReplicas] = 2
    },
  ]

  private func open(
    _ setting: FreshVolume, _ devices: [SimulatedDevice], seed: UInt64 = 1, limit: Int = 64 << 20
  ) throws -> FileSystem {
    FileSystem(try setting.engine(on: devices, seed: seed).engine, dirtyLimitBytes: limit)
  }

  private func letGo(_ files: FileSystem) throws {
    files.engine.letGo()
    for device in files.engine.media.devices { try device?.close() }
  }

  private func bytes(_ count: Int, _ seed: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 / 4099 &+ seed) }
  }

  /// Expects bytes, and tells where the first other one is.
  private func expectSame(
    _ found: [UInt8], _ wanted: [UInt8], _ what: String = "",
    _ location: SourceLocation = #_sourceLocation
  ) {
    guard found != wanted else { return }
    let first = zip(found, wanted).enumerated().first { $1.0 != $1.1 }?.offset
    Issue.record(
      "\(what) \(found.count) bytes, not \(wanted.count), the first that differs at \(first ?? -1)",
      sourceLocation: location)
  }

  private func expectContents(
    of id: FileID, _ wanted: [UInt8], _ files: FileSystem,
    _ location: SourceLocation = #_sourceLocation
  ) throws {
    expectSame(try files.contents(of: id), wanted, "file \(id.inode):", location)
  }

  @Test(arguments: settings)
  func overwritesStayInPlaceAndAllocateNothing(setting: FreshVolume) throws {
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    var model = bytes(1 << 20, 1)
    try files.write(id, model.rawBytes, at: 0)
    try files.sync()
    let (places, used) = (try files.places(of: id), files.engine.usage.used)
    let open = files.engine.openBucketStates
    var random = SplitMix64(seed: 5)
    for step in 0..<60 {
      let count = 1 + Int(random.next() % (step % 4 == 0 ? 300_000 : 9000))
      let start = Int(random.next() % UInt64(model.count - count))
      let new = bytes(count, step)
      try files.write(id, new.rawBytes, at: UInt64(start))
      model.replaceSubrange(start..<start + count, with: new)
      if step % 5 == 0 { try files.fsync(id) }
    }
    try files.sync()
    try expectContents(of: id, model, files)
    #expect(try files.places(of: id) == places)
    #expect(files.engine.usage.used == used)
    #expect(files.engine.openBucketStates == open)
    #expect(files.engine.nocowLocks.counts == (0, 0))
    try files.close()
    try setting.expectSound(devices, "closed")
    try setting.withVolume(devices) { volume in
      let found = try volume.allBytes(of: id)
      expectSame(found, model)
    }
    try expectAllCopies(of: model, places, devices)
  }

  /// Each copy holds the data.
  private func expectAllCopies(
    of bytes: [UInt8], _ places: [FilePlaces], _ devices: [SimulatedDevice]
  ) throws {
    for extent in places {
      for pointer in extent.pointers {
        let device = try BlockDevice.open(
          simulated: devices[Int(pointer.device)], mode: .readOnly)
        defer { try? device.close() }
        var copy = [UInt8](repeating: 0, count: extent.sectors.count * 512)
        var span = copy.mutableRawBytes
        try device.read(into: &span, atByte: pointer.offset * 512)
        let start = Int(extent.sectors.lowerBound) * 512
        expectSame(copy, Array(bytes[start..<start + copy.count]), "\(pointer)")
      }
    }
  }

  @Test(arguments: settings)
  func whatIsAllocatedReadsAsZerosUntilItIsWritten(setting: FreshVolume) throws {
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    try files.change(id, 0..<1 << 20, .allocate)
    let allocated = try files.places(of: id)
    #expect(allocated.unwrittenSectors == 2048)
    #expect(try files.attributes(of: id).inode.sectors == 2048)
    var model = [UInt8](repeating: 0, count: 1 << 20)
    // So the places hold something else than zeros.
    for extent in allocated {
      for pointer in extent.pointers {
        let device = try #require(files.engine.media.device(pointer.device))
        let noise = [UInt8](repeating: 0xa5, count: extent.sectors.count * 512)
        try device.write(noise.rawBytes, atByte: pointer.offset * 512)
      }
    }
    try expectContents(of: id, model, files)
    let used = files.engine.usage.used
    for (start, count) in [(5000, 3000), (200_000, 150_000), (1 << 20 - 700, 700), (8192, 1)] {
      let new = bytes(count, start)
      try files.write(id, new.rawBytes, at: UInt64(start))
      model.replaceSubrange(start..<start + count, with: new)
      try files.fsync(id)
      try expectContents(of: id, model, files)
    }
    let places = try files.places(of: id)
    #expect(places.bySector == allocated.bySector)
    #expect(places.unwrittenSectors < 2048 && places.unwrittenSectors > 1024)
    #expect(files.engine.usage.used == used)
    try files.close()
    try setting.expectSound(devices, "closed")
    try setting.withVolume(devices) { volume in
      let found = try volume.allBytes(of: id)
      expectSame(found, model)
    }
    let again = try open(setting, devices, seed: 2)
    model = bytes(1 << 20, 3)
    try again.write(id, model.rawBytes, at: 0)
    try again.sync()
    let written = try again.places(of: id)
    #expect(written.bySector == allocated.bySector && written.unwrittenSectors == 0)
    try expectContents(of: id, model, again)
    try again.close()
    try setting.expectSound(devices, "written")
  }

  @Test func snapshotsKeepWhatWasThere() throws {
    let setting = Self.settings[0]
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    try files.change(id, 400_000..<600_000, .allocate)
    let old = bytes(300_000, 1)
    try files.write(id, old.rawBytes, at: 0)
    let snapshot = try files.createSnapshot(
      of: 1, as: Array("snapshot".utf8), in: files.root)
    let before = try files.places(of: id)
    let copy = FileID(subvolume: snapshot.id.subvolume, inode: id.inode)
    let oldContents = try files.contents(of: copy)
    var model = oldContents
    for (start, count) in [(100_000, 60_000), (450_000, 10_000), (0, 300)] {
      let new = bytes(count, 9 + start)
      try files.write(id, new.rawBytes, at: UInt64(start))
      model.replaceSubrange(start..<start + count, with: new)
    }
    try files.sync()
    try expectContents(of: id, model, files)
    try expectContents(of: copy, oldContents, files)
    #expect(try files.places(of: copy).bySector == before.bySector)
    // What was written since is the file's own.
    let own = try files.places(of: id)
    #expect(own != before)
    let new = bytes(60_000, 77)
    try files.write(id, new.rawBytes, at: 100_000)
    model.replaceSubrange(100_000..<160_000, with: new)
    try files.sync()
    #expect(try files.places(of: id).bySector == own.bySector)
    try expectContents(of: id, model, files)
    try expectContents(of: copy, oldContents, files)
    try files.close()
    try setting.expectSound(devices, "closed")
  }

  @Test func whatFilesShareIsNotWrittenOver() throws {
    let setting = Self.settings[0]
    let devices = try setting.format()
    let files = try open(setting, devices)
    let (a, b) = (try files.makeFile("a"), try files.makeFile("b"))
    let old = bytes(256 << 10, 1)
    try files.write(a, old.rawBytes, at: 0)
    #expect(try files.copyRange(from: a, 0..<256 << 10, to: b, at: 0) == 256 << 10)
    let new = bytes(100_000, 2)
    try files.write(a, new.rawBytes, at: 4096)
    try files.write(b, new.rawBytes, at: 131_072)
    try files.sync()
    var (inA, inB) = (old, old)
    inA.replaceSubrange(4096..<104_096, with: new)
    inB.replaceSubrange(131_072..<231_072, with: new)
    try expectContents(of: a, inA, files)
    try expectContents(of: b, inB, files)
    try files.close()
    try setting.expectSound(devices, "closed")
  }

  /// Data that was written before the option was set has a checksum: it gets a new place once.
  @Test func whatHasAChecksumIsWrittenElsewhere() throws {
    let setting = FreshVolume(testDescription: "plain")
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    try files.write(id, bytes(64 << 10, 1).rawBytes, at: 0)
    try files.sync()
    let first = try files.places(of: id)
    try files.setXattr(Array("bcachefs.nocow".utf8), of: id, to: Array("1".utf8), .any)
    try files.write(id, bytes(64 << 10, 2).rawBytes, at: 0)
    try files.sync()
    let second = try files.places(of: id)
    #expect(Set(second.bySector.values).isDisjoint(with: Set(first.bySector.values)))
    try files.write(id, bytes(64 << 10, 3).rawBytes, at: 0)
    try files.sync()
    #expect(try files.places(of: id) == second)
    try expectContents(of: id, bytes(64 << 10, 3), files)
    try files.close()
    try setting.expectSound(devices, "closed")
  }

  @Test func aFullVolumeTakesOverwrites() throws {
    let setting = FreshVolume(testDescription: "full") {
      $0.sizes = [16 << 20]
      $0.build.bucketBytes = 32 << 10
      $0.build.options[.btreeNodeSize] = 8 << 10
      $0.build.options[.nocow] = 1
    }
    let devices = try setting.format()
    let files = try open(setting, devices, limit: 256 << 10)
    let (id, filler) = (try files.makeFile("data"), try files.makeFile("filler"))
    try files.change(id, 0..<1 << 20, .allocate)
    var size: UInt64 = 0
    let some = bytes(64 << 10, 1)
    while files.engine.usage.available > 64 {
      let count = min(files.engine.usage.available * 512, UInt64(some.count)) / 4096 * 4096
      guard count > 0 else { break }
      do throws(VolumeError) {
        try files.write(filler, some.rawBytes.extracting(first: Int(count)), at: size)
        try files.fsync(filler)
      } catch {
        #expect(error.code == .noSpace)
        break
      }
      size += count
    }
    expectCode(.noSpace) { () throws(VolumeError) in
      for number in 0..<4 {
        try files.write(filler, some.rawBytes, at: size + UInt64(number * some.count))
      }
    }
    let places = try files.places(of: id)
    for number in 0..<32 {
      try files.write(id, bytes(100_000, number).rawBytes, at: UInt64(number * 26_000))
      try files.fsync(id)
    }
    #expect(try files.places(of: id).bySector == places.bySector)
    try files.close()
    try setting.expectSound(devices, "closed")
  }

  // MARK: - Devices

  @Test func aCopyThatCannotBeWrittenIsNotTrusted() throws {
    let setting = Self.settings[2]
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    var model = bytes(256 << 10, 1)
    try files.write(id, model.rawBytes, at: 0)
    try files.sync()
    let places = try files.places(of: id)
    let bad = try #require(places.first?.pointers.last)
    devices[Int(bad.device)].setFaults([SimulatedFaultRule(.writeError)])
    for step in 0..<3 {
      let new = bytes(100_000, 5 + step)
      try files.write(id, new.rawBytes, at: UInt64(step * 30_000))
      model.replaceSubrange(step * 30_000..<step * 30_000 + 100_000, with: new)
      try files.fsync(id)
      try expectContents(of: id, model, files)
    }
    #expect(files.engine.failures.contains(bad.device))
    // What was overwritten is on other devices alone.
    for extent in try files.places(of: id) where extent.sectors.lowerBound < 300 {
      #expect(!extent.pointers.contains { $0.device == bad.device })
    }
    #expect(files.engine.store.memberErrors.count(.write, member: Int(bad.device)) > 0)
    try letGo(files)
  }

  /// A key that contradicts what its bucket says leads no write there.
  @Test(arguments: [DataType.sb, .journal, .btree, .user])
  func whatABucketDoesNotSayIsNotWrittenOver(type: DataType) throws {
    let setting = Self.settings[0]
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    let old = bytes(16 << 10, 1)
    try files.write(id, old.rawBytes, at: 0)
    try files.sync()
    let place = try #require(try files.places(of: id).first?.pointers.first)
    let bucket = BPos(UInt64(place.device), place.offset / 128)
    try files.engine.run("test_damage") { (transaction) throws(TransactionError) in
      var alloc = try transaction.bucket(bucket, .intent)
      // Of user data it is another generation's.
      if type == .user { alloc.generation &+= 1 } else { alloc.dataType = type.rawValue }
      transaction.put(
        .alloc, .allocV4, bucket, AllocV4.encodedU64s, flags: .noTriggers
      ) { alloc.encode(into: &$0) }
      try transaction.commit()
    }
    do throws(VolumeError) {
      try files.write(id, bytes(16 << 10, 2).rawBytes, at: 0)
      try files.fsync(id)
    } catch {
      #expect(error.code == .corrupt)
    }
    var found = [UInt8](repeating: 0, count: old.count)
    var span = found.mutableRawBytes
    let device = try #require(files.engine.media.device(place.device))
    try device.read(into: &span, atByte: place.offset * 512)
    expectSame(found, old, "\(type):")
    try letGo(files)
  }

  // MARK: - Moving

  /// All buckets of files are emptied over and over while they are overwritten in place.
  @Test(arguments: [UInt64(1), 2])
  func nothingIsLostWhileBucketsAreEmptied(seed: UInt64) throws {
    let setting = FreshVolume(testDescription: "moved") {
      $0.sizes = [32 << 20]
      $0.build.bucketBytes = 64 << 10
      $0.build.options[.nocow] = 1
    }
    let devices = try setting.format()
    let files = try open(setting, devices, seed: seed, limit: 256 << 10)
    files.engine.startThreads()
    let sectors = 512
    let written = Mutex(
      try (0..<3).map { StampedFile(try files.makeFile("data \($0)"), sectorCount: sectors) })
    for index in 0..<3 {
      var file = written.withLock { $0[index] }
      // One is allocated and not written yet.
      if index == 0 { try files.change(file.id, 0..<UInt64(sectors * 512), .allocate) }
      if index > 0 { try file.write(0..<sectors, files) }
      written.withLock { $0[index] = file }
    }
    try files.sync()
    let left = Atomic<Int>(3)
    let moved = Atomic<Int>(0)
    onThreads(4) { index in
      do throws(VolumeError) {
        guard index == 3 else {
          defer { left.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
          var random = SplitMix64(seed: seed &* 31 &+ UInt64(index))
          var file = written.withLock { $0[index] }
          for _ in 0..<(runsLongTests ? 4000 : 250) {
            let start = Int(random.next() % UInt64(sectors - 1))
            let count = 1 + Int(random.next() % UInt64(min(sectors - start, 80)))
            try file.write(start..<start + count, files)
            try files.writeOut(file.id)
          }
          return written.withLock { $0[index] = file }
        }
        let mover = ExtentMover(files.engine)
        while left.load(ordering: .sequentiallyConsistent) > 0 {
          for file in written.withLock({ $0.map(\.id) }) {
            do throws(VolumeError) {
              let count = try Self.evacuate(file, files, mover)
              moved.wrappingAdd(count, ordering: .relaxed)
            } catch {
              // Who moves data makes no room. It is quick: all buckets wait for the journal.
              guard error.code == .noSpace else { throw error }
              try files.engine.freeWhatWasReplaced()
            }
          }
        }
      } catch {
        Issue.record("\(error)")
      }
    }
    let many = moved.load(ordering: .relaxed)
    #expect(many > 100, "seed \(seed): \(many)")
    for file in written.withLock({ $0 }) {
      #expect(try file.wrongSectors(files) == 0, "seed \(seed), \(file.id)")
    }
    #expect(files.engine.nocowLocks.counts == (0, 0))
    try files.close()
    try setting.expectSound(devices, "seed \(seed)")
  }

  /// Empties all closed buckets that a file has something in.
  ///
  /// - Returns: how many sectors went elsewhere.
  private static func evacuate(
    _ id: FileID, _ files: FileSystem, _ mover: ExtentMover
  ) throws(VolumeError) -> Int {
    let engine = files.engine
    let places: [FilePlaces]
    do { places = try files.places(of: id) } catch { throw VolumeError(.corrupt, "\(error)") }
    var counts = EvacuationCounts()
    var done: Set<BPos> = []
    for pointer in places.flatMap(\.pointers) {
      guard let bucket = engine.media.member(pointer.device)?.bucket(ofSector: pointer.offset)
      else { continue }
      let position = Positions.bucket(device: pointer.device, bucket: bucket)
      guard done.insert(position).inserted, !engine.openBuckets.contains(position) else { continue }
      try engine.evacuate(
        FragmentedBucket(
          position: position, generation: pointer.generation, sectors: 1, wasted: 1),
        mover, &counts, until: { false })
    }
    if counts.failed > 0 { Issue.record("\(counts)") }
    return Int(counts.sectors)
  }

  /// What was only allocated stays so where it goes.
  @Test func whatIsNotWrittenMovesWithoutData() throws {
    let setting = Self.settings[0]
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    try files.change(id, 0..<1 << 20, .allocate)
    try files.write(id, bytes(10_000, 1).rawBytes, at: 300_000)
    try files.sync()
    let before = try files.places(of: id)
    let moved = try Self.evacuate(id, files, ExtentMover(files.engine))
    #expect(moved > 1000)
    let after = try files.places(of: id)
    #expect(after.unwrittenSectors == before.unwrittenSectors)
    #expect(after.bySector != before.bySector)
    var model = [UInt8](repeating: 0, count: 1 << 20)
    model.replaceSubrange(300_000..<310_000, with: bytes(10_000, 1))
    try expectContents(of: id, model, files)
    try files.close()
    try setting.expectSound(devices, "closed")
  }

  /// The data of an extent that was moved before it counted as written is written once more.
  @Test func whatMovedMeanwhileDoesNotCountAsWritten() throws {
    let setting = Self.settings[0]
    let devices = try setting.format()
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    try files.change(id, 0..<64 << 10, .allocate)
    files.engine.writePoints.retireAll(files.engine.openBuckets)
    let engine = files.engine
    func find() throws -> WritableExtent {
      let found = try engine.run("test_find") { (transaction) throws(TransactionError) in
        try transaction.placeToOverwrite(id, 16..<48, replicas: 1)
      }
      guard case .writable(let extent) = found else { throw VolumeError(.notFound) }
      return extent
    }
    func mark(_ extent: WritableExtent) throws -> UInt64? {
      let options = DataOptions(engine.media.options, key: engine.media.key)
      return try engine.run("test_mark") { (transaction) throws(TransactionError) in
        try transaction.markWritten(
          extent, extent.sectors,
          FileWrite(file: id, options: options, change: InodeChange(size: 64 << 10)))
      }
    }
    let before = try find()
    #expect(before.isUnwritten && before.sectors == 16..<48)
    let partial = engine.openBuckets.shown.partial.map(\.position)
    engine.openBuckets.release(partial)
    #expect(try Self.evacuate(id, files, ExtentMover(engine)) == 128)
    engine.openBuckets.hold(partial)
    #expect(try mark(before) == nil)
    #expect(try files.places(of: id).unwrittenSectors == 128)
    let after = try find()
    #expect(after.places != before.places)
    #expect(try mark(after) == 48)
    #expect(try files.places(of: id).unwrittenSectors == 96)
    // It is not one that nothing was written to any more.
    #expect(try mark(after) == nil)
    try files.close()
    try setting.expectSound(devices, "closed")
  }

  /// A bucket that somebody writes to in place is not given out, though it is free.
  @Test func lockedBucketsAreNotGivenOut() throws {
    let setting = Self.settings[0]
    let devices = try setting.format()
    let files = try open(setting, devices)
    let locked = (0..<512).map { BPos(0, UInt64($0)) }
    #expect(files.engine.nocowLocks.tryWriting(to: locked) == nil)
    let id = try files.makeFile("data")
    try files.write(id, bytes(300_000, 1).rawBytes, at: 0)
    try files.sync()
    for extent in try files.places(of: id) {
      #expect(extent.pointers.allSatisfy { $0.offset / 128 >= 512 })
    }
    files.engine.nocowLocks.endWriting(to: locked)
    try files.close()
    try setting.expectSound(devices, "closed")
  }

  // MARK: - Power

  /// After a crash each sector is what it was when it was last made durable, or anything newer.
  @Test(arguments: [UInt64(1), 2, 3])
  func sectorsAreOldOrNewAfterACrash(seed: UInt64) throws {
    let setting = Self.settings[seed == 3 ? 2 : 0]
    let devices = try setting.format(recorded: true)
    let files = try open(setting, devices, seed: seed)
    let sectors = 1024
    var file = StampedFile(try files.makeFile("data"), sectorCount: sectors)
    var random = SplitMix64(seed: seed &* 99)
    try files.change(file.id, 0..<UInt64(sectors * 512), .allocate)
    try file.write(100..<400, files)
    try files.sync()
    var done: [(operations: [UInt64], versions: [UInt64])] = []
    var fsyncs: [Int] = []
    func note() { done.append((devices.map(\.operationCount), file.versions)) }
    note()
    fsyncs.append(0)
    for _ in 0..<60 {
      let start = Int(random.next() % UInt64(sectors - 1))
      let count = 1 + Int(random.next() % UInt64(min(sectors - start, 300)))
      try file.write(start..<start + count, files)
      try files.writeOut(file.id)
      if random.next() % 6 == 0 {
        try files.fsync(file.id)
        fsyncs.append(done.count)
      }
      note()
    }
    try letGo(files)
    for state in 0..<(runsLongTests ? 600 : 25) {
      // All devices fail at the same step.
      let step = Int(random.next() % UInt64(done.count - 1))
      let images = try devices.enumerated().map { index, device in
        let (first, last) = (done[step].operations[index], done[step + 1].operations[index])
        let operation = devices.count > 1 ? last : first + random.next() % (last - first + 1)
        return try #require(
          device.crashImage(beforeOperation: operation, .random(&random), recordsContents: true))
      }
      let comment: Comment = "seed \(seed), state \(state), step \(step)"
      let oldest = done[try #require(fsyncs.last { $0 <= step }, comment)].versions
      let newest = done[step + 1].versions
      let again = try open(setting, images, seed: 9)
      let found = StampedFile.versions(try again.contents(of: file.id))
      #expect(found.count == sectors, comment)
      let wrong = found.indices.filter { sector in
        guard let version = found[sector] else { return true }
        return version < oldest[sector] || version > newest[sector]
      }
      #expect(wrong == [], comment)
      try again.close()
      try setting.expectSound(images, comment)
    }
  }

  /// What is written over is nobody else's after a crash either, when what made it the file's own
  /// was not made durable: the deletion of a snapshot that saw it.
  @Test func aSnapshotThatACrashBringsBackIsAsItWas() throws {
    let setting = Self.settings[0]
    let devices = try setting.format(recorded: true)
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    let old = bytes(64 << 10, 1)
    try files.write(id, old.rawBytes, at: 0)
    let name = Array("snapshot".utf8)
    let snapshot = try files.createSnapshot(of: 1, as: name, in: files.root)
    try files.sync()
    let places = try files.places(of: id)
    try files.deleteSubvolume(name, in: files.root)
    try files.cleanSnapshots()
    try files.write(id, bytes(64 << 10, 2).rawBytes, at: 0)
    try files.writeOut(id)
    #expect(try files.places(of: id).bySector == places.bySector)
    let image = devices[0].crashImage(.all)
    try letGo(files)
    let again = try open(setting, [image], seed: 2)
    let copy = FileID(subvolume: snapshot.id.subvolume, inode: id.inode)
    if try again.names(of: again.root).contains(where: { $0.name == name }) {
      try expectContents(of: copy, old, again)
    }
    try again.close()
  }

  /// The same where extents were moved within the file.
  @Test func aRangeThatACrashBringsBackIsAsItWas() throws {
    let setting = Self.settings[0]
    let devices = try setting.format(recorded: true)
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    let old = bytes(256 << 10, 1)
    try files.write(id, old.rawBytes, at: 0)
    try files.sync()
    try files.change(id, 0..<64 << 10, .collapse)
    let new = bytes(64 << 10, 9)
    try files.write(id, new.rawBytes, at: 0)
    try files.writeOut(id)
    let image = devices[0].crashImage(.all)
    try letGo(files)
    try setting.withVolume([image]) { volume in
      let found = try volume.allBytes(of: id)
      let isCollapsed = found.count < old.count
      expectSame(found, isCollapsed ? new + old[(128 << 10)...] : old)
    }
  }

  /// An fsync makes data durable though nothing else of the file has changed.
  @Test func whatFsyncReturnedForIsThere() throws {
    let setting = Self.settings[0]
    let devices = try setting.format(recorded: true)
    let files = try open(setting, devices)
    let id = try files.makeFile("data")
    try files.write(id, bytes(64 << 10, 1).rawBytes, at: 0)
    try files.sync()
    let new = bytes(64 << 10, 2)
    try files.write(id, new.rawBytes, at: 0, keepsTimes: true)
    try files.fsync(id)
    let image = devices[0].crashImage(.none)
    try letGo(files)
    try setting.withVolume([image]) { volume in
      let found = try volume.allBytes(of: id)
      expectSame(found, new)
    }
  }
}
