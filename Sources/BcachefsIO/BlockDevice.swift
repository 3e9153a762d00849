// SPDX-License-Identifier: GPL-2.0
// A device: an array of bytes that outlives the program, behind one type for all back ends.
//
// How it works
//   1. Every operation is checked here (open, writable, in range) before a back end sees it.
//   2. The back end is a closed enum: one switch per operation, nothing dynamic.
//   3. close() marks the device, waits for the operations under way on other threads, then
//      releases it. Operations that come later fail with `.closed`.
//   4. After a failed flush the kernel has dropped what it could not write and would call the
//      next flush a success. So the failure is remembered: every later flush fails too.
// Invariants
//   (1) A read-only device issues no system call that writes.
//   (2) offset + length <= byteCount for everything that reaches a back end.
//   (3) The descriptor is closed once, and never while an operation uses it.
// Locks: none held across I/O; `activity` counts operations, all methods are safe from any thread.

internal import BcachefsSupport
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// An image file, a block device, or a simulated one.
public final class BlockDevice: Sendable {
  /// What may be done through a device.
  public enum Mode: Sendable, Equatable {
    /// No write reaches the device, no lock is taken.
    case readOnly
    /// Reads and writes; nobody else may have it open this way, mounted, or attached.
    case exclusiveReadWrite
  }

  enum BackEnd: Sendable {
    case descriptor(DescriptorBackEnd)
    case simulated(SimulatedDevice)
  }

  /// The path, or the simulated device's name: what messages call it.
  public let name: String
  public let mode: Mode
  /// The smallest unit that is written atomically, in bytes (512 for image files).
  public let blockSizeBytes: Int
  /// The unit that the medium writes without read-modify-write, in bytes.
  public let physicalBlockSizeBytes: Int
  /// Whether seeks are slow.
  public let isRotational: Bool
  /// Whether `discard` gives space back.
  public let supportsDiscard: Bool

  let backEnd: BackEnd
  private let size: Atomic<UInt64>
  /// Operations under way, and `closedBit`.
  private let activity = Atomic<UInt64>(0)
  private let flushFailure = Atomic<Int32>(0)
  private static let closedBit: UInt64 = 1 << 63

  init(name: String, mode: Mode, geometry: DeviceGeometry, backEnd: BackEnd) {
    self.name = name
    self.mode = mode
    self.backEnd = backEnd
    blockSizeBytes = geometry.blockSizeBytes
    physicalBlockSizeBytes = geometry.physicalBlockSizeBytes
    isRotational = geometry.isRotational
    supportsDiscard = geometry.supportsDiscard
    size = Atomic(geometry.byteCount)
  }

  deinit { _ = release() }

  /// The device's size in bytes. Changes only by `resize`.
  public var byteCount: UInt64 { size.load(ordering: .relaxed) }

  /// Whether transfers bypass the page cache.
  public var usesDirectIO: Bool {
    switch backEnd {
    case .descriptor(let file): file.usesDirectIO
    case .simulated: false
    }
  }

  /// Whether this is a block device of the machine, not an image file or a simulation.
  public var isBlockDevice: Bool {
    switch backEnd {
    case .descriptor(let file): file.isBlockDevice
    case .simulated: false
    }
  }

  // MARK: - Reading

  /// Fills `span` from the bytes at `offset`.
  ///
  /// - Throws: `.outOfBounds` (nothing was read), `.unexpectedEnd`, `.system`, `.closed`. After an
  ///   error the span's contents are undefined.
  public func read(
    into span: inout MutableRawSpan, atByte offset: UInt64
  ) throws(DeviceError) {
    let byteCount = UInt64(span.byteCount)
    try begin(.read, offset, byteCount)
    defer { end() }
    let reason = unsafe span.withUnsafeMutableBytes { buffer in
      switch backEnd {
      case .descriptor(let file): unsafe file.read(buffer, at: offset)
      case .simulated(let device): unsafe device.read(buffer, at: offset)
      }
    }
    if let reason { throw error(.read, reason, offset, byteCount) }
  }

  /// Fills `spans` in order from consecutive bytes at `offset`, by as few calls as possible.
  ///
  /// - Throws: as `read(into:atByte:)`.
  public func readv(
    into spans: consuming ReadVector, atByte offset: UInt64
  ) throws(DeviceError) {
    let byteCount = UInt64(spans.byteCount)
    try begin(.read, offset, byteCount)
    defer { end() }
    let reason =
      switch backEnd {
      case .descriptor(let file): unsafe file.read(parts: spans.parts, at: offset)
      case .simulated(let device): unsafe device.read(parts: spans.parts, at: offset)
      }
    if let reason { throw error(.read, reason, offset, byteCount) }
  }

  // MARK: - Writing

  /// Writes `span` to the bytes at `offset`. Durable after the next `flush()` that succeeds.
  ///
  /// - Throws: `.readOnly`, `.outOfBounds`, `.misaligned`, `.closed` (nothing was written);
  ///   `.system` (any part of it may have been written).
  public func write(_ span: RawSpan, atByte offset: UInt64) throws(DeviceError) {
    let byteCount = UInt64(span.byteCount)
    try beginWriting(.write, offset, byteCount)
    defer { end() }
    let reason = unsafe span.withUnsafeBytes { buffer in
      switch backEnd {
      case .descriptor(let file): unsafe file.write(buffer, at: offset)
      case .simulated(let device): unsafe device.write(buffer, at: offset)
      }
    }
    if let reason { throw error(.write, reason, offset, byteCount) }
  }

  /// Writes `spans` in order to consecutive bytes at `offset`, by as few calls as possible.
  ///
  /// - Throws: as `write(_:atByte:)`.
  public func writev(_ spans: borrowing WriteVector, atByte offset: UInt64) throws(DeviceError) {
    let byteCount = UInt64(spans.byteCount)
    try beginWriting(.write, offset, byteCount)
    defer { end() }
    let reason =
      switch backEnd {
      case .descriptor(let file): unsafe file.write(parts: spans.parts, at: offset)
      case .simulated(let device): unsafe device.write(parts: spans.parts, at: offset)
      }
    if let reason { throw error(.write, reason, offset, byteCount) }
  }

  /// Makes every write that returned before this call durable.
  ///
  /// - Throws: `.system`, and from then on `.earlierFlushFailed` at every call: what was written
  ///   since the last success may be lost, and no later success may hide that.
  public func flush() throws(DeviceError) {
    try beginWriting(.flush, 0, 0)
    defer { end() }
    let earlier = flushFailure.load(ordering: .relaxed)
    if earlier != 0 {
      throw DeviceError(.flush, .earlierFlushFailed(earlier), device: name)
    }
    let reason =
      switch backEnd {
      case .descriptor(let file): file.flush()
      case .simulated(let device): device.flush()
      }
    guard let reason else { return }
    let failure = DeviceError(.flush, reason, device: name)
    flushFailure.store(failure.errorNumber, ordering: .relaxed)
    throw failure
  }

  // MARK: - Space

  /// Tells the device that a range holds nothing any more. What is read there afterwards is
  /// undefined; on an image file it is zeros, and the file's blocks are freed.
  ///
  /// - Throws: `.unsupported`, `.readOnly`, `.outOfBounds`, `.system`, `.closed`.
  public func discard(_ range: Range<UInt64>) throws(DeviceError) {
    try beginWriting(.discard, range.lowerBound, range.upperBound - range.lowerBound)
    defer { end() }
    guard !range.isEmpty else { return }
    let byteCount = range.upperBound - range.lowerBound
    let reason =
      switch backEnd {
      case .descriptor(let file): file.discard(at: range.lowerBound, byteCount: byteCount)
      case .simulated(let device): device.discard(at: range.lowerBound, byteCount: byteCount)
      }
    if let reason { throw error(.discard, reason, range.lowerBound, byteCount) }
  }

  /// Makes a range read as zeros, and frees its space where the device can.
  ///
  /// - Throws: `.unsupported`, `.readOnly`, `.outOfBounds`, `.system`, `.closed`.
  public func punchHole(_ range: Range<UInt64>) throws(DeviceError) {
    try beginWriting(.punchHole, range.lowerBound, range.upperBound - range.lowerBound)
    defer { end() }
    guard !range.isEmpty else { return }
    let byteCount = range.upperBound - range.lowerBound
    let reason =
      switch backEnd {
      case .descriptor(let file): file.punchHole(at: range.lowerBound, byteCount: byteCount)
      case .simulated(let device): device.punchHole(at: range.lowerBound, byteCount: byteCount)
      }
    if let reason { throw error(.punchHole, reason, range.lowerBound, byteCount) }
  }

  /// Makes an image file `byteCount` bytes long: a hole is added at its end, or its end is cut off.
  ///
  /// - Throws: `.unsupported` (block devices), `.invalidSize`, `.readOnly`, `.system`, `.closed`.
  public func resize(toByteCount byteCount: UInt64) throws(DeviceError) {
    try beginWriting(.resize, 0, 0)
    defer { end() }
    guard byteCount > 0, byteCount <= DeviceGeometry.byteCountMax else {
      throw error(.resize, .invalidSize, nil, byteCount)
    }
    let reason =
      switch backEnd {
      case .descriptor(let file): file.resize(toByteCount: byteCount)
      case .simulated(let device): device.resize(toByteCount: byteCount)
      }
    if let reason { throw error(.resize, reason, nil, byteCount) }
    size.store(byteCount, ordering: .relaxed)
  }

  // MARK: - Closing

  /// Waits for operations under way, then releases the device and its lock. Does not flush.
  /// Closing twice does nothing.
  ///
  /// - Throws: `.system` if the kernel reports a write error that it found only now.
  public func close() throws(DeviceError) {
    if let reason = release() { throw DeviceError(.close, reason, device: name) }
  }

  private func release() -> DeviceError.Reason? {
    let before = activity.bitwiseOr(Self.closedBit, ordering: .acquiringAndReleasing).oldValue
    guard before & Self.closedBit == 0 else { return nil }
    while activity.load(ordering: .acquiring) != Self.closedBit { usleep(50) }
    switch backEnd {
    case .descriptor(let file):
      if mode == .exclusiveReadWrite { DeviceLock.release(file.descriptor) }
      return Glibc.close(file.descriptor) == 0 || errno == EINTR ? nil : .system(errno)
    case .simulated(let device):
      if mode == .exclusiveReadWrite { device.state.withLock { $0.isOpenForWriting = false } }
      return nil
    }
  }

  // MARK: - Admission

  private func beginWriting(
    _ operation: DeviceError.Operation, _ offset: UInt64, _ byteCount: UInt64
  ) throws(DeviceError) {
    guard mode == .exclusiveReadWrite else { throw error(operation, .readOnly, offset, byteCount) }
    try begin(operation, offset, byteCount)
  }

  /// Admits an operation on a range; `end()` must follow unless this throws.
  func begin(
    _ operation: DeviceError.Operation, _ offset: UInt64, _ byteCount: UInt64
  ) throws(DeviceError) {
    let total = self.byteCount
    guard offset <= total, byteCount <= total - offset else {
      throw error(operation, .outOfBounds(deviceBytes: total), offset, byteCount)
    }
    // Pairs with the load in release(): what this operation did is over when the count drops.
    let before = activity.add(1, ordering: .acquiring).oldValue
    guard before & Self.closedBit == 0 else {
      end()
      throw error(operation, .closed, offset, byteCount)
    }
  }

  func end() {
    activity.subtract(1, ordering: .releasing)
  }

  @inline(never)
  private func error(
    _ operation: DeviceError.Operation, _ reason: DeviceError.Reason, _ offset: UInt64?,
    _ byteCount: UInt64?
  ) -> DeviceError {
    switch operation {
    case .read, .write, .discard, .punchHole:
      DeviceError(operation, reason, device: name, offsetBytes: offset, lengthBytes: byteCount)
    default: DeviceError(operation, reason, device: name)
    }
  }
}
