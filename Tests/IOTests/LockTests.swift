// SPDX-License-Identifier: GPL-2.0
// Who may open what, and how the one in the way is named: other processes, loop devices, mounts.

import BcachefsIO
import Foundation
import TestSupport
import Testing

struct LockTests: ~Copyable {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func makeImage(_ byteCount: UInt64 = 1 << 20) throws -> String {
    let path = folder.file("a.img")
    try BlockDevice.create(path: path, byteCount: byteCount).close()
    return path
  }

  private func openFailure(
    _ path: String, _ mode: BlockDevice.Mode = .exclusiveReadWrite
  ) -> DeviceError.Reason? {
    failure { () throws(DeviceError) in _ = try BlockDevice.open(path: path, mode: mode) }
  }

  // MARK: - Image files

  @Test func aSecondExclusiveOpenNamesTheProcessThatHoldsTheFirst() throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    guard case .inUse(let users)? = openFailure(path) else {
      Issue.record("the file was opened twice")
      return
    }
    #expect(users.contains { Self.named($0) == getpid() })
    #expect(device.conflicts() == [])
    let reader = try BlockDevice.open(path: path, mode: .readOnly)
    #expect(reader.conflicts().contains { Self.named($0) == getpid() })
    try device.close()
    #expect(openFailure(path) == nil)
    #expect(reader.conflicts() == [])
  }

  /// A child that another thread starts has a copy of every descriptor until it runs its program.
  @Test func closingUnlocksEvenIfAnotherDescriptorOfTheFileIsOpen() throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    let descriptors = "/proc/self/fd/"
    let names = try FileManager.default.contentsOfDirectory(atPath: descriptors)
    let number = names.compactMap { Int32($0) }.first {
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(descriptors)\($0)")) == path
    }
    let copy = dup(try #require(number))
    defer { close(copy) }
    try device.close()
    #expect(openFailure(path) == nil)
  }

  private static func named(_ conflict: DeviceConflict) -> Int32? {
    guard case .locked(let processID, _) = conflict else { return nil }
    return processID
  }

  @Test func anotherProcessesLockIsNamedByNumberAndProgram() throws {
    let path = try makeImage()
    let other = Process()
    other.executableURL = URL(fileURLWithPath: "/usr/bin/flock")
    other.arguments = ["--no-fork", path, "/bin/sleep", "60"]
    try other.run()
    defer {
      // Not SIGTERM: the child inherits the signal mask of the tests' threads.
      kill(other.processIdentifier, SIGKILL)
      other.waitUntilExit()
    }
    var reason: DeviceError.Reason?
    for _ in 0..<200 where reason == nil {
      usleep(10_000)
      reason = openFailure(path)
    }
    guard case .inUse(let users)? = reason else {
      Issue.record("a locked file was opened: \(String(describing: reason))")
      return
    }
    #expect(users.map { Self.named($0) } == [other.processIdentifier])
    #expect(openFailure(path, .readOnly) == nil)
  }

  @Test func aSecondProcessIsRefusedUntilTheFirstCloses() async throws {
    let path = try makeImage()
    let device = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    await #expect(processExitsWith: .success) { [path = path as String] in
      let refused = failure { () throws(DeviceError) in
        _ = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
      }
      guard case .inUse? = refused else { exit(1) }
    }
    try device.close()
    await #expect(processExitsWith: .success) { [path = path as String] in
      _ = try BlockDevice.open(path: path, mode: .exclusiveReadWrite)
    }
  }

  @Test func aPosixLockAsEmulatorsTakeItKeepsUsOut() throws {
    let path = try makeImage()
    let descriptor = unsafe open(path, O_RDWR)
    try #require(descriptor >= 0)
    var lock = Foundation.flock()
    lock.l_type = Int16(F_WRLCK)
    lock.l_whence = Int16(SEEK_SET)
    try #require(unsafe fcntl(descriptor, F_SETLK, &lock) == 0)
    #expect(openFailure(path) == .inUse([.locked(processID: getpid(), process: programName())]))
    close(descriptor)
    #expect(openFailure(path) == nil)
  }

  private func programName() -> String? {
    try? String(contentsOfFile: "/proc/self/comm", encoding: .utf8)
      .trimmingCharacters(in: .newlines)
  }

  // MARK: - Block devices, as root

  @Test(.enabled(if: LoopDevice.isPossible, "needs root and loop devices"))
  func theFileBehindALoopDeviceIsRefusedByItsName() throws {
    let path = try makeImage(4 << 20)
    let loop = try LoopDevice(path)
    #expect(openFailure(path) == .inUse([.loopDevice(loop.path)]))
    let reader = try BlockDevice.open(path: path, mode: .readOnly)
    #expect(reader.conflicts() == [.loopDevice(loop.path)])
    try FileManager.default.linkItem(atPath: path, toPath: folder.file("b.img"))
    try FileManager.default.removeItem(atPath: path)
    #expect(openFailure(folder.file("b.img")) == .inUse([.loopDevice(loop.path)]))
    loop.detach()
    let device = try BlockDevice.open(path: folder.file("b.img"), mode: .exclusiveReadWrite)
    let late = try LoopDevice(device.name)
    #expect(
      openFailure(late.path)
        == .inUse([.locked(processID: getpid(), process: programName())]))
    try device.close()
    #expect(openFailure(late.path) == nil)
  }

  @Test(.enabled(if: LoopDevice.isPossible, "needs root and loop devices"))
  func aBlockDeviceIsReadWrittenDiscardedAndExclusive() throws {
    let path = try makeImage(4 << 20)
    let loop = try LoopDevice(path)
    let device = try BlockDevice.open(path: loop.path, mode: .exclusiveReadWrite, direct: true)
    #expect(device.isBlockDevice)
    #expect(device.byteCount == 4 << 20)
    #expect(device.blockSizeBytes == 512)
    #expect(device.supportsDiscard)
    #expect(device.usesDirectIO)
    #expect(openFailure(loop.path) == .inUse([]))
    let data = pattern(1 << 20)
    try device.put(data, at: 1 << 20)
    try device.flush()
    #expect(try device.bytes(1 << 20, at: 1 << 20) == data)
    try device.punchHole(1 << 20..<(1 << 20) + 65_536)
    #expect(try device.bytes(65_536, at: 1 << 20).allSatisfy { $0 == 0 })
    #expect(try device.bytes(65_536, at: (1 << 20) + 65_536) == Array(data[65_536..<131_072]))
    try device.discard((1 << 20) + 65_536..<2 << 20)
    #expect(
      failure { () throws(DeviceError) in try device.resize(toByteCount: 1 << 20) }
        == .unsupported)
    #expect(
      failure { () throws(DeviceError) in try device.put([1], at: 4 << 20) }
        == .outOfBounds(deviceBytes: 4 << 20))
    try device.close()
    #expect(openFailure(loop.path) == nil)
    #expect(try DeviceListing.all().contains { $0.path == loop.path && $0.byteCount == 4 << 20 })
    loop.detach()
  }

  @Test(.enabled(if: LoopDevice.isPossible, "needs root and loop devices"))
  func aMountedDeviceAndItsFileAreRefusedWithTheMountPoint() throws {
    let path = try makeImage(16 << 20)
    try #require(run("/usr/sbin/mkfs.ext4", "-q", path) == 0)
    let mountPoint = folder.file("mount point")
    try FileManager.default.createDirectory(atPath: mountPoint, withIntermediateDirectories: false)
    let loop = try LoopDevice(path)
    try #require(run("/usr/bin/mount", loop.path, mountPoint) == 0)
    defer { _ = run("/usr/bin/umount", mountPoint) }
    let mounted = DeviceConflict.mounted(device: loop.path, path: mountPoint)
    #expect(openFailure(loop.path) == .inUse([mounted]))
    #expect(openFailure(path) == .inUse([.loopDevice(loop.path), mounted]))
    let error = #expect(throws: DeviceError.self) {
      try BlockDevice.open(path: loop.path, mode: .exclusiveReadWrite)
    }
    #expect(
      error?.description
        == "cannot open \(loop.path): \(loop.path) is mounted at \(mountPoint); "
        + "unmount, detach or stop that first, or open it read-only")
  }
}

/// A loop device on a file, detached with its owner.
final class LoopDevice {
  let path: String
  private var isAttached = true

  static var isPossible: Bool {
    getuid() == 0 && FileManager.default.fileExists(atPath: "/dev/loop-control")
      && FileManager.default.isExecutableFile(atPath: "/usr/sbin/losetup")
  }

  init(_ file: String) throws {
    let output = try #require(
      try runForOutput("/usr/sbin/losetup", ["--find", "--show", file]), "losetup failed")
    path = output.trimmingCharacters(in: .newlines)
  }

  func detach() {
    guard isAttached else { return }
    isAttached = false
    _ = run("/usr/sbin/losetup", "--detach", path)
    // Detaching completes when the last user of the device, udev perhaps, has gone.
    for _ in 0..<100 {
      let name = path.dropFirst("/dev/".count)
      if !FileManager.default.fileExists(atPath: "/sys/block/\(name)/loop/backing_file") { break }
      usleep(10_000)
    }
  }

  deinit { detach() }
}

/// The exit status of a program; its output is dropped.
func run(_ program: String, _ arguments: String...) -> Int32 {
  (try? runProgram(program, arguments))?.status ?? -1
}

/// What a program printed; nil if it failed.
func runForOutput(_ program: String, _ arguments: [String]) throws -> String? {
  let result = try runProgram(program, arguments)
  return result.status == 0 ? result.text : nil
}
