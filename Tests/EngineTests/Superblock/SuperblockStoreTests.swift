// SPDX-License-Identifier: GPL-2.0
// The live superblock: what is written when, what is refused, devices that fail, and counting.

import BcachefsFormat
import BcachefsSupport
import Synchronization
import TestSupport
import Testing

@testable import Bcachefs
@testable import BcachefsIO

/// The code of the volume's error that `body` throws; nil when it throws nothing.
func volumeErrorCode(_ body: () throws -> Void) throws -> VolumeError.Code? {
  do {
    try body()
    return nil
  } catch let error as VolumeError {
    return error.code
  }
}

@Suite struct SuperblockStoreTests {
  /// Where the first copy is.
  static let first = SuperblockLayout.defaultSuperblockSector * 512

  // MARK: Opening

  @Test func openingForWritingWritesNothingAndIsExclusive() throws {
    let volume = try LiveVolume(fixture: "replicas")
    try volume.writing { store in
      #expect(store.superblock.isClean)
      let code = try volumeErrorCode {
        do throws(DeviceError) {
          _ = try BlockDevice.open(simulated: volume.devices[0], mode: .exclusiveReadWrite)
        } catch { throw VolumeError(error) }
      }
      #expect(code == .device)
    }
    #expect(volume.operationCount == 0)
  }

  @Test func imageFilesAreOpenedByTheirPathsAndOnlyOnce() throws {
    try withTemporaryFolder { folder in
      let paths = try SampleVolume.fixture("replicas").unpack(into: folder)
      let sources = VolumeSources(paths: paths)
      let volume = try VolumeOpener.openForWriting(sources)
      #expect(try volumeErrorCode { _ = try VolumeOpener.openForWriting(sources) } == .device)
      try volume.store.setLabel("by path")
      for device in volume.media.devices { try device?.close() }
      #expect(try VolumeOpener.open(sources).superblock.label.text == "by path")
      _ = try VolumeOpener.openForWriting(sources)
    }
  }

  @Test func devicesOpenForReadingAreRefused() throws {
    let volume = try LiveVolume(fixture: "plain")
    let device = try BlockDevice.open(simulated: volume.devices[0], mode: .readOnly)
    let code = try volumeErrorCode { _ = try VolumeOpener.openForWriting(devices: [device]) }
    #expect(code == .device)
  }

  @Test func noChangesKeepsEverythingInMemory() throws {
    let volume = try LiveVolume(fixture: "plain")
    let device = try BlockDevice.open(simulated: volume.devices[0], mode: .readOnly)
    let store = try VolumeOpener.openForWriting(
      devices: [device], options: .on(.nochanges)
    ).store
    try store.markDirty()
    try store.setLabel("nothing")
    #expect(store.superblock.label.text == "nothing")
    #expect(!store.superblock.isClean)
    #expect(volume.operationCount == 0)
  }

  @Test func whatCannotBeWrittenIsRefusedByName() throws {
    let cases: [(String, VolumeOptions, (inout Superblock) -> Void)] = [
      ("1.2", VolumeOptions(), { $0.lower(to: .deletedInodes) }),
      ("1.14", VolumeOptions(), { $0.version = MetadataVersion(1, 14) }),
      ("feature 20", VolumeOptions(), { $0.features[0] |= 1 << 20 }),
      ("1.16", VolumeOptions(), { $0[Superblock.Layout.versionIncompat] = 1 << 10 | 16 }),
      (
        "new_extent_overwrite", VolumeOptions(),
        { $0.featureMask.remove(.newExtentOverwrite) }
      ),
    ]
    for (name, options, change) in cases {
      let fixture = try OpeningFixture("plain")
      try fixture.rewrite(0, change)
      let volume = LiveVolume(fixture.devices)
      do {
        _ = try volume.writing(options: options) { _ in }
        Issue.record("\(name) was not refused")
      } catch let error as VolumeError {
        #expect(error.code == .unsupported)
        #expect("\(error)".contains(name), "\(error)")
      }
      #expect(volume.operationCount == 0)
    }
  }

  @Test(arguments: SampleVolume.newest)
  func newestFormatIsReadAndNotWritten(sample: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let sources = VolumeSources(paths: try sample.unpack(into: folder))
      let code = try volumeErrorCode { _ = try VolumeOpener.openForWriting(sources) }
      #expect(code == .unsupported)
    }
  }

  // MARK: Updating

  @Test func everyDeviceGetsAllCopiesWithItsOwnSections() throws {
    let volume = try LiveVolume(fixture: "replicas")
    let before = try (0..<2).map { try volume.superblock($0) }
    try volume.writing { store in
      try store.markDirty()
      try store.setLabel("both")
    }
    for index in 0..<2 {
      let device = try BlockDevice.open(simulated: volume.devices[index], mode: .readOnly)
      let copies = SuperblockCopies(device)
      let after = try volume.superblock(index)
      #expect(after.seq == before[index].seq + 2)
      #expect(after.members.map(\.seq) == [after.seq, after.seq])
      #expect(Int(after.deviceIndex) == index)
      #expect(after.layout == before[index].layout)
      #expect(after.section(.journalV2) == before[index].section(.journalV2))
      #expect(after.section(.journalV2) != nil)
      for sector in after.layout.copySectors {
        guard case .valid(var copy) = copies.state(ofSector: sector) else {
          Issue.record("sector \(sector) of device \(index)")
          continue
        }
        copy.sector = after.sector
        #expect(try copy.encode() == after.encode())
      }
    }
  }

  @Test func updateThatThrowsChangesNothing() throws {
    let volume = try LiveVolume(fixture: "plain")
    try volume.writing { store in
      let before = store.superblock
      let code = try volumeErrorCode {
        try store.update { superblock throws(VolumeError) in
          try superblock.setLabel("never")
          throw VolumeError(.cancelled)
        }
      }
      #expect(code == .cancelled)
      #expect(store.superblock == before)
      #expect(volume.operationCount == 0)
      try store.setLabel("now")
    }
    #expect(try volume.superblock(0).label.text == "now")
  }

  @Test func sectionsBeyondTheRoomAreRefusedBeforeAnythingIsWritten() throws {
    let volume = try LiveVolume(fixture: "replicas")
    let room = try volume.superblock(0).layout.maxByteCount
    try volume.writing { store in
      let before = store.superblock
      let section = UnknownSection(
        type: SuperblockSectionType(rawValue: 99), contents: [UInt8](repeating: 1, count: room))
      let code = try volumeErrorCode { try store.update { $0.setSection(.unknown(section)) } }
      #expect(code == .limit)
      #expect(store.superblock == before)
      #expect(volume.operationCount == 0)
      // So are values that no reader would accept.
      let invalid = try volumeErrorCode { try store.update { $0.blockSizeSectors = 0 } }
      #expect(invalid == .corrupt)
      #expect(volume.operationCount == 0)
      try store.setLabel("still here")
    }
    #expect(try volume.superblock(1).label.text == "still here")
  }

  @Test func uninitialisedVolumesAreWrittenWhenTheyAreInitialised() throws {
    let fixture = try OpeningFixture("plain")
    try fixture.rewrite(0) { $0.isInitialized = false }
    let volume = LiveVolume(fixture.devices)
    try volume.writing { store in
      try store.setLabel("half")
      #expect(store.superblock.label.text == "half")
      #expect(volume.operationCount == 0)
      try store.update { $0.isInitialized = true }
    }
    #expect(try volume.superblock(0).label.text == "half")
  }

  @Test func updatesOfManyThreadsWaitForEachOther() throws {
    let volume = try LiveVolume(fixture: "replicas")
    let before = try volume.superblock(0)
    try volume.writing { store in
      onThreads(4) { thread in
        for round in 0..<10 {
          store.counters.add(.ioRead, 8)
          try? store.update { $0.timeBaseHigh &+= 1 }
          store.recordFinding(.init(rawValue: UInt16(1 + (thread + round) % 3)))
        }
      }
      try store.write()
    }
    let after = try volume.superblock(1)
    #expect(after.timeBaseHigh == before.timeBaseHigh + 40)
    #expect(after.seq == before.seq + 41)
    let counters = try #require(after.section(of: CountersSection.self)).values
    let old = before.section(of: CountersSection.self)?.values ?? []
    let place = Int(PersistentCounter.ioRead.rawValue)
    #expect(counters[place] == (old.indices.contains(place) ? old[place] : 0) + 320)
    let findings = try #require(after.section(of: ErrorsSection.self)).counts
    #expect(findings.reduce(0) { $0 + $1.count } == 40)
  }

  // MARK: Devices that fail

  @Test func volumeGoesOnWithoutADeviceThatFails() throws {
    let volume = try LiveVolume(fixture: "replicas")
    volume.devices[1].setFaults([SimulatedFaultRule(.writeError)])
    try volume.writing { store in
      try store.setLabel("one failed")
      #expect(store.failures.map(\.member) == [1])
      #expect(store.memberErrors.count(.write, member: 1) == 1)
      try store.setLabel("one left")
      #expect(store.failures.count == 1)
    }
    #expect(try volume.superblock(0).members[1].errors[1] == 1)
    // The device that failed counts as absent since.
    volume.devices[1].setFaults([])
    let media = try LiveVolume.read(volume.devices)
    #expect(media.superblock.label.text == "one left")
    try volume.writing { store in try store.setLabel("both again") }
    #expect(try volume.superblock(1).label.text == "both again")
    #expect(try volume.superblock(1).seq == volume.superblock(0).seq)
  }

  @Test(arguments: [
    SimulatedFaultRule(.flushError, operationNumber: 0),
    SimulatedFaultRule(.flushError, operationNumber: 1),
    SimulatedFaultRule(.writeError, operationNumber: 0),
    SimulatedFaultRule(.writeError, operationNumber: 1),
    SimulatedFaultRule(.readError, bytes: SuperblockStoreTests.first..<first + 4096),
    SimulatedFaultRule(.vanish, operationNumber: 20),
  ])
  func whereverADeviceFailsBothCanBeOpenedAfterwards(rule: SimulatedFaultRule) throws {
    let volume = try LiveVolume(fixture: "replicas")
    try volume.writing { store in
      volume.devices[1].setFaults([rule])
      try store.setLabel("first")
      for round in 0..<5 where store.failures.isEmpty { try store.setLabel("more \(round)") }
      #expect(store.failures.count == 1)
      try store.setLabel("last")
    }
    volume.devices[1].setFaults([])
    let survivors = volume.devices.map { $0.crashImage(.all) }
    #expect(try LiveVolume.read(survivors).superblock.label.text == "last")
    #expect(try SuperblockCrashTests.driverComplaint(survivors) == nil)
  }

  @Test func tooFewDevicesAreAnErrorThatStays() throws {
    let volume = try LiveVolume(deviceCount: 2)
    volume.devices[1].setFaults([SimulatedFaultRule(.writeError)])
    try volume.writing { store in
      let code = try volumeErrorCode { try store.setLabel("lost") }
      #expect(code == .missingMembers)
      let done = volume.operationCount
      #expect(try volumeErrorCode { try store.setLabel("later") } == .missingMembers)
      #expect(store.fatal?.code == .missingMembers)
      #expect(volume.operationCount == done)
    }
  }

  @Test func superblocksOfSomebodyElseAreNotOverwritten() throws {
    let fixture = try OpeningFixture("plain")
    let volume = LiveVolume(fixture.devices)
    try volume.writing { store in
      var other = try volume.superblock(0)
      other.prepareForWrite(time: other.writeTime + 1)
      let image = OpeningFixture(devices: [volume.devices[0].copy()])
      try image.rewrite(0) { $0 = other }
      let open = try BlockDevice.open(simulated: image.devices[0], mode: .readOnly)
      let bytes = try contents(open, Self.first..<Self.first + 65536)
      // Behind the back of the store, as another machine would.
      volume.devices[0].state.withLock { state in
        unsafe bytes.withUnsafeBytes { unsafe state.current.write($0, at: Self.first) }
      }
      let done = volume.operationCount
      #expect(try volumeErrorCode { try store.setLabel("mine") } == .splitBrain)
      #expect(volume.operationCount == done)
    }
    #expect(try volume.superblock(0).label.text != "mine")
  }

  @Test func lostWritesAreNoticed() throws {
    let volume = try LiveVolume(fixture: "plain")
    try volume.writing { store in
      volume.devices[0].setFaults([
        SimulatedFaultRule(.lostWrite, bytes: Self.first..<Self.first + 4096, limit: 1)
      ])
      try store.setLabel("lost")
      #expect(try volumeErrorCode { try store.setLabel("next") } == .device)
    }
  }
}

extension Superblock {
  /// Makes it look like one of an older version.
  mutating func lower(to version: MetadataVersion) {
    self.version = version
    versionMin = min(versionMin, version)
    self[Layout.versionUpgradeComplete] = UInt64(version.rawValue)
  }
}

extension SuperblockStoreTests {
  @Test func placesBeyondAnyDeviceAreAnErrorOfTheDevice() throws {
    for sector: UInt64 in [1 << 40, UInt64.max - 4096] {
      let fixture = try OpeningFixture("plain")
      var superblock = try fixture.superblock(0)
      superblock.layout = try SuperblockLayout(
        copySectors: Array(superblock.layout.copySectors) + [sector],
        maxSizeBits: superblock.layout.maxSizeBits)
      let first = SuperblockLayout.defaultSuperblockSector
      try fixture.overwrite(0, at: Self.first, with: try superblock.encode(sector: first))
      let volume = LiveVolume(fixture.devices)
      let code = try volumeErrorCode {
        try volume.writing { store in try store.setLabel("nowhere") }
      }
      #expect(code == .missingMembers, "sector \(sector)")
    }
  }
}
