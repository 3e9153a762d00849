// SPDX-License-Identifier: GPL-2.0
// Filesystems on simulated devices, for tests of operations on files.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

/// A device with a new filesystem on it.
struct OpenFileSystem {
  let device: SimulatedDevice
  let volume: FreshVolume

  init(_ change: (inout FreshVolume) -> Void = { _ in }, recorded: Bool = false) throws {
    volume = FreshVolume(testDescription: "files", change)
    device = try volume.format(recorded: recorded)[0]
  }

  init(on device: SimulatedDevice) {
    volume = FreshVolume(testDescription: "files")
    self.device = device
  }

  func open(
    seed: UInt64 = 1, withThreads: Bool = false, cacheBytes: Int = 64 << 20,
    clocks: Clocks = .system
  ) throws -> FileSystem {
    let bare = try BareEngine(
      on: FreshVolume.open([device]), cacheBytes: cacheBytes, seed: seed, clocks: clocks)
    if withThreads { bare.engine.startThreads() }
    return FileSystem(bare.engine)
  }

  /// Leaves it as after a crash.
  func letGo(_ files: FileSystem) throws {
    files.engine.letGo()
    for device in files.engine.media.devices { try device?.close() }
  }

  /// Reads what is on the device.
  func read<Result>(_ body: (Volume) throws -> Result) throws -> Result {
    let device = try BlockDevice.open(simulated: device, mode: .readOnly)
    defer { try? device.close() }
    return try body(Volume(media: VolumeOpener.open(devices: [device])))
  }

  /// A leaf in the midst of the extents: the sectors of the file that it has, and its own bytes.
  func leafOfExtents() throws -> (sectors: Range<Int>, bytes: Range<UInt64>)? {
    try read { open in
      var leaves: [BTreeNodeInfo] = []
      try open.forEachNode(of: .extents, level: 0) { leaves.append($0) }
      guard leaves.count >= 4, let nodeBytes = volume.build.options[.btreeNodeSize] else {
        return nil
      }
      let leaf = leaves[leaves.count / 2]
      let place = leaf.pointerText.split(separator: "ptr: 0:").last ?? ""
      let numbers = place.split { !$0.isNumber }.prefix(2).compactMap { UInt64($0) }
      guard numbers.count == 2 else { return nil }
      let start = numbers[0] * UInt64(volume.build.bucketBytes ?? 0) + numbers[1] * 512
      return (
        Int(leaf.minKey.offset)..<Int(leaf.maxKey.offset),
        start..<start + UInt64(nodeBytes)
      )
    }
  }
}

extension FileSystem {
  /// Makes a directory.
  func makeDirectory(_ name: String, in parent: FileID? = nil) throws -> FileID {
    try create(
      Array(name.utf8), in: parent ?? root, FileCreation(.directory, permissions: 0o755)
    ).id
  }

  /// Makes an empty file.
  func makeFile(_ name: String, in parent: FileID? = nil) throws -> FileID {
    try create(
      Array(name.utf8), in: parent ?? root, FileCreation(.regular, permissions: 0o644)
    ).id
  }

  /// Whether nothing waits to be deleted.
  func hasDeletedInodes() throws -> Bool {
    try engine.run("test_deleted") { (transaction) throws(TransactionError) in
      try transaction.next(.deletedInodes, from: .min) != nil
    }
  }
}

/// Expects that something fails with a code.
func expectCode<Result>(
  _ code: VolumeError.Code, _ comment: Comment? = nil,
  _ body: () throws(VolumeError) -> Result
) {
  do throws(VolumeError) {
    _ = try body()
    Issue.record("done, though \(code): \(comment ?? "")")
  } catch {
    #expect(error.code == code, comment)
  }
}
