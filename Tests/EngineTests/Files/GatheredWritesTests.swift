// SPDX-License-Identifier: GPL-2.0
// Blocks that lie apart in a file are written together; and where that fails, one window's trouble
// is not the others'.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct GatheredWritesTests {
  private static let blockSectors = 8
  private static let fileSectors = 16 << 11
  private static let sparseSectors = 64 << 11

  @Test func blocksThatLieApartGoToTheDeviceSideBySide() throws {
    let volume = try OpenFileSystem(recorded: true)
    let files = try volume.open()
    var file = StampedFile(try files.makeFile("file"), sectorCount: Self.fileSectors)
    try file.write(0..<Self.fileSectors, files)
    try files.sync()
    let count = 400
    for block in Self.scattered(count) { try file.write(block, files) }
    let before = volume.device.operations.count
    files.contents.writeAll()
    let writes = volume.device.operations[before...].filter { $0.kind == .write }
    #expect(writes.count < count / 4, "\(writes.count) writes of \(count) blocks")
    let large = writes.max { $0.lengthBytes < $1.lengthBytes }
    #expect((large?.lengthBytes ?? 0) >= UInt64(16 * Self.blockSectors * 512))
    try files.close()
    let again = try volume.open()
    #expect(try file.wrongSectors(again) == 0)
    try again.close()
    try volume.volume.expectSound([volume.device], "after it was closed", ofFiles: true)
  }

  @Test func aNodeThatCannotBeReadCostsOnlyWhatItsExtentsWere() throws {
    let volume = try OpenFileSystem()
    let (files, made, damaged) = try openDamaged(volume)
    var file = made
    let blocks = Self.scattered(100, of: Self.sparseSectors, seed: 2)
    let lost = blocks.filter { damaged.sectors.overlaps($0) }
    #expect(!lost.isEmpty && lost.count < blocks.count / 2)
    let old = file
    for block in blocks { try file.write(block, files) }
    expectCode(.allCopiesBad) { () throws(VolumeError) in try files.fsync(file.id) }
    // Nothing else is missing: who flushes next is told nothing.
    try files.fsync(file.id)
    try volume.letGo(files)
    volume.device.setFaults([])
    let again = try volume.open()
    let found = StampedFile.versions(try again.contents(of: file.id))
    // A window is lost whole.
    let window = ContentWindow.byteCount / 512
    for sector in found.indices where found[sector] != file.versions[sector] {
      let near = sector / window * window..<(sector / window + 1) * window
      #expect(damaged.sectors.overlaps(near), "sector \(sector) of \(damaged.sectors)")
      #expect(found[sector] == old.versions[sector], "sector \(sector)")
    }
    try again.close()
  }

  /// Others than fsync may have things written first, and go on.
  @Test func whatIsLostOnTheWayIsToldToWhoFlushes() throws {
    let volume = try OpenFileSystem()
    let (files, made, damaged) = try openDamaged(volume)
    var file = made
    let first = (damaged.sectors.lowerBound / 8 + 1) * 8
    try file.write(first..<first + 8, files)
    let bytes = UInt64(first * 512)
    expectCode(.allCopiesBad, "allocated") { () throws(VolumeError) in
      try files.change(file.id, bytes..<bytes + 4096, .allocate, keepsSize: true)
    }
    expectCode(.allCopiesBad, "flushed") { () throws(VolumeError) in try files.fsync(file.id) }
    try files.fsync(file.id)
    // The same where it is written in the background, when nobody has the file open.
    try file.write(first..<first + 8, files)
    files.contents.writeAll()
    expectCode(.allCopiesBad, "flushed again") { () throws(VolumeError) in try files.fsync(file.id)
    }
    try files.fsync(file.id)
    try volume.letGo(files)
  }

  /// A file with extents in several leaves, of which one cannot be read from now on.
  private func openDamaged(
    _ volume: OpenFileSystem
  ) throws -> (FileSystem, StampedFile, (sectors: Range<Int>, bytes: Range<UInt64>)) {
    let files = try volume.open()
    var file = StampedFile(try files.makeFile("file"), sectorCount: Self.sparseSectors)
    for block in Self.scattered(2000, of: Self.sparseSectors) { try file.write(block, files) }
    try files.close()
    let damaged = try #require(try volume.leafOfExtents())
    let again = try volume.open()
    volume.device.setFaults([SimulatedFaultRule(.readError, bytes: damaged.bytes)])
    return (again, file, damaged)
  }

  /// Blocks in no order, each of them once.
  private static func scattered(
    _ count: Int, of sectors: Int = fileSectors, seed: UInt64 = 1
  ) -> [Range<Int>] {
    var random = SplitMix64(seed: seed)
    var numbers: Set<Int> = []
    var result: [Range<Int>] = []
    while result.count < count {
      let number = Int(random.next() % UInt64(sectors / blockSectors))
      guard numbers.insert(number).inserted else { continue }
      result.append(number * blockSectors..<(number + 1) * blockSectors)
    }
    return result
  }
}
