// SPDX-License-Identifier: GPL-2.0
// Contents of files that are written, cut off, allocated and moved: what is read is what a model in
// memory says, before and after the volume is closed.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import FileModel
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct FileContentsTests {
  /// What a file should be.
  private struct Model {
    var bytes: [UInt8] = []

    mutating func write(_ new: [UInt8], at offset: Int) {
      if bytes.count < offset + new.count {
        bytes += [UInt8](repeating: 0, count: offset + new.count - bytes.count)
      }
      bytes.replaceSubrange(offset..<offset + new.count, with: new)
    }

    mutating func truncate(to size: Int) {
      if size < bytes.count {
        bytes.removeLast(bytes.count - size)
      } else {
        bytes += [UInt8](repeating: 0, count: size - bytes.count)
      }
    }

    mutating func zero(_ range: Range<Int>) {
      let range = range.clamped(to: 0..<bytes.count)
      bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
  }

  /// Random bytes, or such that compress well.
  private static func data(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
    let seed = random.next()
    if seed % 3 == 0 {
      return (0..<count).map { UInt8(truncatingIfNeeded: Int(seed >> 8) + $0 / 97) }
    }
    var words = SplitMix64(seed: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
      let word = words.next()
      for byte in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(byte * 8))) }
    }
    return Array(bytes.prefix(count))
  }

  /// One operation on the file and on the model; their names say what was done.
  private static func step(
    _ contents: FileContents, _ model: inout Model, _ random: inout SplitMix64
  ) throws -> String {
    let limit: UInt64 = 600 << 10
    let block = UInt64(contents.blockBytes)
    var offset = random.next() % limit
    // What happens at the end of a file is another matter.
    if random.next() % 4 == 0 {
      offset = UInt64(max(0, model.bytes.count - 3000)) + random.next() % 6000
    }
    let short = random.next() % 4 != 0
    let length = 1 + random.next() % (short ? 6000 : 200 << 10)
    let end = offset + length
    switch random.next() % 16 {
    case 0...6:
      let bytes = data(Int(length), &random)
      try contents.write(bytes, at: offset)
      model.write(bytes, at: Int(offset))
      return "write \(offset)..<\(end)"
    case 7:
      let size = random.next() % limit
      try contents.truncate(to: size)
      model.truncate(to: Int(size))
      return "truncate \(size)"
    case 8:
      try contents.punch(offset..<end, contents.now)
      model.zero(Int(offset)..<Int(end))
      return "punch \(offset)..<\(end)"
    case 9:
      let keepsSize = random.next() % 2 == 0
      try contents.zero(offset..<end, keepsSize: keepsSize, contents.now)
      model.zero(Int(offset)..<Int(end))
      if !keepsSize, model.bytes.count < end { model.truncate(to: Int(end)) }
      return "zero \(offset)..<\(end), keeps size: \(keepsSize)"
    case 10:
      let keepsSize = random.next() % 2 == 0
      try contents.allocate(offset..<end, keepsSize: keepsSize, contents.now)
      if !keepsSize, model.bytes.count < end { model.truncate(to: Int(end)) }
      return "allocate \(offset)..<\(end), keeps size: \(keepsSize)"
    case 11:
      let (start, count) = (offset / block * block, (1 + random.next() % 16) * block)
      guard start + count < UInt64(model.bytes.count) else { return "nothing" }
      try contents.shift(start..<start + count, isInsert: false)
      model.bytes.removeSubrange(Int(start)..<Int(start + count))
      return "collapse \(start)..<\(start + count)"
    case 12:
      let (start, count) = (offset / block * block, (1 + random.next() % 16) * block)
      guard start < UInt64(model.bytes.count) else { return "nothing" }
      try contents.shift(start..<start + count, isInsert: true)
      model.bytes.insert(contentsOf: repeatElement(0, count: Int(count)), at: Int(start))
      return "insert \(start)..<\(start + count)"
    case 13:
      try contents.flush()
      return "flush"
    default:
      let range = offset..<end
      let found = try contents.bytes(range)
      let wanted = Array(model.bytes.dropFirst(Int(offset)).prefix(Int(length)))
      #expect(found == wanted, "read \(range)")
      return "read"
    }
  }

  /// What differs, in a few words.
  private static func difference(_ found: [UInt8], _ wanted: [UInt8]) -> String? {
    if found == wanted { return nil }
    let first = zip(found, wanted).enumerated().first { $1.0 != $1.1 }?.offset
    return "\(found.count) bytes, not \(wanted.count), the first that differs at "
      + "\(first.map { "\($0)" } ?? "the end")"
  }

  @Test(arguments: ContentVolume.all, [UInt64(1), 2])
  func contentsAreWhatAModelSays(setting: FreshVolume, seed: UInt64) throws {
    let devices = try setting.format()
    var random = SplitMix64(seed: seed)
    var models: [UInt64: Model] = [:]
    for round in 0..<(runsLongTests ? 40 : 3) {
      let bare = try setting.engine(on: devices, seed: seed)
      #expect(bare.engine.wasClean)
      let store = ContentStore(bare.engine, dirtyLimitBytes: 256 << 10)
      for number in UInt64(5000)..<5003 {
        if models[number] == nil {
          _ = try ContentVolume.makeFile("file \(number)", number, in: bare.engine)
        }
        let contents = try store.open(FileID(subvolume: 1, inode: number))
        defer { store.close(contents.file) }
        var model = models[number] ?? Model()
        var done: [String] = []
        for _ in 0..<(runsLongTests ? 600 : 60) {
          done.append(try Self.step(contents, &model, &random))
          #expect(contents.shown.size == model.bytes.count, "\(done)")
        }
        let difference = Self.difference(try contents.everything(), model.bytes)
        try #require(difference == nil, "seed \(seed), round \(round): \(done)")
        models[number] = model
      }
      store.writeAll()
      #expect(store.dirtyByteCount == 0)
      for number in models.keys.sorted() {
        let contents = try store.open(FileID(subvolume: 1, inode: number))
        try contents.flush()
        let found = try contents.everything()
        #expect(
          Self.difference(found, models[number]?.bytes ?? []) == nil,
          "written, seed \(seed), round \(round)")
        store.close(contents.file)
      }
      #expect(bare.engine.usage.promisedSectors == 0)
      try bare.engine.close()
      try setting.letGo(bare)
      try setting.expectSound(devices, "seed \(seed), round \(round)")
      try setting.withVolume(devices) { volume in
        for (number, model) in models {
          let file = FileID(subvolume: 1, inode: number)
          let found = try volume.allBytes(of: file)
          #expect(
            Self.difference(found, model.bytes) == nil,
            "closed, seed \(seed), round \(round), file \(number)")
        }
      }
    }
  }

  /// What made a file long was never written, and is cut off again: the hole before it stays.
  @Test func aSizeThatEndsInAHoleOutlivesWhatWasBehindIt() throws {
    let setting = ContentVolume.all[0]
    let devices = try setting.format()
    let bare = try setting.engine(on: devices)
    let store = ContentStore(bare.engine)
    let file = try ContentVolume.makeFile("file", 5000, in: bare.engine)
    let contents = try store.open(file)
    try contents.write([1, 2, 3], at: 0)
    try contents.write([4], at: 100_000)
    try contents.truncate(to: 50_000)
    store.close(file)
    store.writeAll()
    let again = try store.open(file)
    #expect(again.shown.size == 50_000)
    #expect(try again.everything() == [1, 2, 3] + [UInt8](repeating: 0, count: 49_997))
    store.close(file)
    try bare.engine.close()
    try setting.letGo(bare)
    try setting.expectSound(devices, "closed")
  }

  /// A range that lies behind the end, or reaches over it, within the file's last block.
  @Test(arguments: [(3, 1..<400), (3, 3..<400), (3, 200..<400), (4000, 3990..<4090)])
  func whatIsCutOutBehindTheEndDoesNotMakeAFileLonger(size: Int, range: Range<UInt64>) throws {
    for change in [FileSystem.RangeChange.punch, .zero] {
      let disk = try OpenFileSystem { $0.build.options[.blockSize] = 4096 }
      var files = try disk.open()
      let id = try files.makeFile("data")
      try files.write(id, [UInt8](repeating: 7, count: size).rawBytes, at: 0)
      try files.change(id, range, change, keepsSize: true)
      let expected = (0..<size).map { range.contains(UInt64($0)) ? UInt8(0) : 7 }
      #expect(try files.contents(of: id) == expected)
      try files.close()
      files = try disk.open()
      #expect(try files.contents(of: id) == expected)
      try files.close()
    }
  }

  /// What had made the file longer was in memory only.
  @Test(arguments: [10_000..<30_000, 10_000..<90_000, 16_384..<30_000, 21_000..<29_000])
  func whatIsCutOutBeforeItWasWrittenCounts(range: Range<UInt64>) throws {
    for change in [FileSystem.RangeChange.punch, .zero] {
      let disk = try OpenFileSystem { $0.build.options[.blockSize] = 4096 }
      var files = try disk.open()
      let id = try files.makeFile("data")
      let bytes = [UInt8](repeating: 7, count: 30_000)
      try files.write(id, Array(bytes.prefix(20_000)).rawBytes, at: 0)
      try files.fsync(id)
      try files.write(id, Array(bytes.suffix(10_000)).rawBytes, at: 20_000)
      try files.change(id, range, change, keepsSize: true)
      let expected = bytes.indices.map { range.contains(UInt64($0)) ? UInt8(0) : 7 }
      #expect(try files.contents(of: id) == expected)
      try files.close()
      files = try disk.open()
      #expect(try files.contents(of: id) == expected)
      try files.close()
      try disk.volume.expectSound([disk.device], "\(range), \(change)", ofFiles: true)
    }
  }

  /// Threads write to windows of one file, and flush it, while others do: nothing is forgotten.
  @Test func theLargestFileIsCutOffAndIsNotZeroedWhereThereIsNoRoom() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let file = try files.makeFile("file")
    try files.write(file, [UInt8](repeating: 1, count: 5000).rawBytes, at: 0)
    let largest = UInt64(Int64.max)
    for size in [largest, largest - 1, largest - 5000, largest, 10_000] {
      try files.truncate(file, to: size)
      #expect(try files.attributes(of: file).byteCount == size)
    }
    for keepsSize in [true, false] {
      expectCode(.noSpace) { () throws(VolumeError) in
        try files.change(file, 0..<largest, .zero, keepsSize: keepsSize)
      }
      expectCode(.noSpace) { () throws(VolumeError) in
        try files.change(file, 0..<largest, .allocate, keepsSize: keepsSize)
      }
    }
    try files.change(file, 0..<largest, .punch, keepsSize: true)
    try files.truncate(file, to: 5000)
    #expect(try files.allBytes(of: file) == [UInt8](repeating: 0, count: 5000))
    try files.close()
    try expectSound(disk.device)
  }

  @Test func whatIsWrittenBesideAFlushIsWrittenToo() throws {
    let disk = try OpenFileSystem()
    let files = try disk.open()
    let id = try files.makeFile("data")
    let window = UInt64(ContentWindow.byteCount)
    let steps: UInt64 = 3000
    onThreads(4) { thread in
      do throws(VolumeError) {
        for step in 1...steps {
          let bytes = [UInt8](repeating: UInt8(step % 251), count: 100)
          try files.write(id, bytes.rawBytes, at: UInt64(thread) * window)
          if (step + UInt64(thread)) % 3 != 0 { try files.writeOut(id) }
        }
      } catch {
        Issue.record("\(error)")
      }
    }
    try files.sync()
    #expect(files.contents.dirtyByteCount == 0)
    #expect(files.engine.usage.promisedSectors == 0)
    var found = [UInt8](repeating: 0, count: Int(3 * window) + 100)
    var span = found.mutableRawBytes
    #expect(try files.read(id, from: 0, into: &span) == span.byteCount)
    for thread in 0..<4 {
      #expect(found[thread * Int(window)] == UInt8(steps % 251), "thread \(thread)")
    }
    try files.close()
    try expectSound(disk.device)
  }

  /// A volume that is to compress only as long as it is open, too, says so before it has anything
  /// that is compressed.
  @Test(arguments: [(UInt64(1), SuperblockFeature.lz4), (2, .gzip), (3, .zstd)])
  func theSuperblockNamesCompressionsThatAreUsed(
    option: UInt64, feature: SuperblockFeature
  ) throws {
    let devices = try FreshVolume(testDescription: "not compressed").format()
    var options = VolumeOptions()
    options[.compression] = option
    let open = try FreshVolume.open(devices)
    let engine = try Engine.open(
      VolumeOpener.openForWriting(devices: open, options: options), EngineOptions(seed: 1))
    let files = FileSystem(engine)
    #expect(!engine.features.has(feature))
    let noise = try files.makeFile("noise")
    var random = SplitMix64(seed: 1)
    let bytes = (0..<100_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    try files.write(noise, bytes.rawBytes, at: 0)
    try files.fsync(noise)
    #expect(!engine.features.has(feature), "what does not compress is not compressed")
    let zeros = try files.makeFile("zeros")
    try files.write(zeros, HeapBuffer(byteCount: 100_000).bytes, at: 0)
    try files.fsync(zeros)
    #expect(engine.features.has(feature))
    try files.close()
    for device in open { try device.close() }
  }
}
