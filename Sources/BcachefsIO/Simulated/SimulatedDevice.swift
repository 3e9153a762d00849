// SPDX-License-Identifier: GPL-2.0
// A device in memory: deterministic, sparse, and as unreliable as asked for.
//
// How it works
//   1. `current` is what reads see. Every change is applied to it at once, and kept in `pending`
//      with its data until a flush makes it durable.
//   2. A flush ends an epoch: `durable` becomes a copy of `current` (pages are shared), `pending`
//      is emptied. With `recordsContents` the epoch is kept, so that the crash images of every
//      moment of a run can be made after it (SimulatedDevice+Crash.swift).
//   3. Faults are chosen by rules and a generator with a seed: the first rule that matches strikes.
//      What a lost, torn or misdirected write really did is what enters `current` and `pending`.
// Invariants
//   (1) durable + pending, applied in order = current (bit rot strikes both, and is no change).
//   (2) The same seed and the same operations in the same order give the same bytes, faults and
//       log.
//   (3) A read-only BlockDevice never comes here to change anything.
// Locks: one mutex around all state; latency is spent outside it.

internal import BcachefsSupport
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// The medium and controller of a simulated device. Use it through
/// `BlockDevice.open(simulated:mode:)`; this type sets its faults and looks at what happened.
public final class SimulatedDevice: Sendable {
  /// What a range holds after a discard.
  public enum DiscardResult: Sendable, Equatable {
    case zeros
    /// What was there before: the device ignores the hint.
    case oldData
    /// Something else, from the seed.
    case garbage
  }

  /// What stays the same for a device's life.
  public struct Configuration: Sendable {
    public var name = "simulated"
    /// Logical block in bytes, a power of two from 512; other ranges are refused as misaligned.
    public var blockSizeBytes = 512
    public var isRotational = false
    public var discardResult = DiscardResult.zeros
    /// Record what was done (`operations`).
    public var recordsOperations = true
    /// Keep all data ever written, for crash images of any moment. Otherwise only what was written
    /// since the last flush is kept.
    public var recordsContents = false
    /// Nanoseconds that an operation takes, drawn from this range by the seed.
    public var latencyNanoseconds: ClosedRange<UInt64> = 0...0
    /// Spends the latency, on whatever clock there is.
    public var sleep: @Sendable (_ nanoseconds: UInt64) -> Void = { _ in }

    public init() {}
  }

  public let configuration: Configuration
  let state: Mutex<State>

  /// - Parameters:
  ///   - byteCount: Size in bytes; nothing is allocated until it is written.
  ///   - seed: Decides every random choice.
  ///   - faults: May be changed later by `setFaults`.
  public convenience init(
    byteCount: UInt64, seed: UInt64 = 0, configuration: Configuration = Configuration(),
    faults: [SimulatedFaultRule] = []
  ) {
    self.init(
      byteCount: byteCount, seed: seed, configuration: configuration, faults: faults,
      contents: PageStore())
  }

  init(
    byteCount: UInt64, seed: UInt64, configuration: Configuration,
    faults: [SimulatedFaultRule] = [], contents: PageStore
  ) {
    self.configuration = configuration
    state = Mutex(
      State(
        generator: SplitMix64(seed: seed), byteCount: byteCount, faults: faults,
        current: contents, durable: contents, durableByteCount: byteCount))
  }

  /// A change that no flush has made durable yet.
  struct Change: Sendable {
    enum Kind: Sendable {
      case write([UInt8])
      case clear(UInt64)
      case resize(UInt64)
    }
    let kind: Kind
    let offset: UInt64
    /// The number that the operation has in the log.
    let sequence: UInt64
  }

  /// All between two flushes: what was durable, and what came then.
  struct Epoch: Sendable {
    let durable: PageStore
    let durableByteCount: UInt64
    let changes: [Change]
    /// Of the flush that ended it.
    let endSequence: UInt64
  }

  struct State: Sendable {
    var generator: SplitMix64
    var byteCount: UInt64
    var faults: [SimulatedFaultRule]
    var current: PageStore
    var durable: PageStore
    var durableByteCount: UInt64
    var pending: [Change] = []
    var epochs: [Epoch] = []
    var operations: [SimulatedOperation] = []
    var nextSequence: UInt64 = 0
    var readCount: UInt64 = 0
    var writeCount: UInt64 = 0
    var flushCount: UInt64 = 0
    var hasVanished = false
    var isOpenForWriting = false
  }

  // MARK: - Looking at it

  /// Everything done so far, in order; empty without `recordsOperations`.
  public var operations: [SimulatedOperation] { state.withLock { $0.operations } }

  /// Operations counted so far: the next one's `sequence`.
  public var operationCount: UInt64 { state.withLock { $0.nextSequence } }

  /// Changes that no flush has made durable yet.
  public var unflushedCount: Int { state.withLock { $0.pending.count } }

  public var byteCount: UInt64 { state.withLock { $0.byteCount } }

  /// Replaces all rules.
  public func setFaults(_ rules: [SimulatedFaultRule]) {
    state.withLock { $0.faults = rules }
  }

  /// An equal device without history: what reads see now, made durable. No data are copied.
  public func copy(seed: UInt64 = 0) -> SimulatedDevice {
    let (contents, byteCount) = state.withLock { ($0.current, $0.byteCount) }
    return SimulatedDevice(
      byteCount: byteCount, seed: seed, configuration: configuration, contents: contents)
  }

  // MARK: - Transfers, called by BlockDevice

  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> DeviceError.Reason? {
    spendLatency()
    return state.withLock { state in
      unsafe state.read(buffer, at: offset, blockSizeBytes: configuration.blockSizeBytes)
    }
  }

  func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) -> DeviceError.Reason? {
    spendLatency()
    let data = unsafe Array(buffer)
    return state.withLock { $0.write(data, at: offset, configuration) }
  }

  func read(parts: [UnsafeMutableRawBufferPointer], at offset: UInt64) -> DeviceError.Reason? {
    let total = unsafe parts.reduce(0) { $0 + $1.count }
    var whole = [UInt8](repeating: 0, count: total)
    let reason = unsafe whole.withUnsafeMutableBytes { unsafe read($0, at: offset) }
    if let reason { return reason }
    var done = 0
    for index in unsafe parts.indices {
      unsafe parts[index].copyBytes(from: whole[done..<done + parts[index].count])
      unsafe done += parts[index].count
    }
    return nil
  }

  func write(parts: [UnsafeRawBufferPointer], at offset: UInt64) -> DeviceError.Reason? {
    spendLatency()
    var whole: [UInt8] = []
    for index in unsafe parts.indices { unsafe whole.append(contentsOf: parts[index]) }
    let data = whole
    return state.withLock { $0.write(data, at: offset, configuration) }
  }

  func flush() -> DeviceError.Reason? {
    spendLatency()
    return state.withLock { $0.flush(configuration) }
  }

  func discard(at offset: UInt64, byteCount: UInt64) -> DeviceError.Reason? {
    spendLatency()
    return state.withLock { $0.discard(at: offset, byteCount: byteCount, configuration) }
  }

  func punchHole(at offset: UInt64, byteCount: UInt64) -> DeviceError.Reason? {
    spendLatency()
    return state.withLock { state in
      if state.isGone(offset, byteCount) { return .system(ENODEV) }
      state.clear(.punchHole, at: offset, byteCount: byteCount, configuration)
      return nil
    }
  }

  func resize(toByteCount byteCount: UInt64) -> DeviceError.Reason? {
    state.withLock { state in
      if state.isGone(0, 0) { return .system(ENODEV) }
      let sequence = state.record(.resize, 0, byteCount, nil, configuration)
      let change = Change(kind: .resize(byteCount), offset: state.byteCount, sequence: sequence)
      state.pending.append(change)
      change.apply(to: &state.current, byteCount: &state.byteCount)
      return nil
    }
  }

  private func spendLatency() {
    let range = configuration.latencyNanoseconds
    guard range.upperBound > 0 else { return }
    let width = range.upperBound - range.lowerBound
    let nanoseconds = state.withLock { state in
      range.lowerBound + (width == .max ? state.generator.next() : state.generator.below(width + 1))
    }
    configuration.sleep(nanoseconds)
  }
}
