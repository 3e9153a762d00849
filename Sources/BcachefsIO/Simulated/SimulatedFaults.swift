// SPDX-License-Identifier: GPL-2.0
// What can go wrong with a simulated device, and when: plain values, decided from one seed.

internal import BcachefsSupport

/// One way in which a device fails.
public enum SimulatedFault: Sendable, Equatable {
  /// A read answers EIO.
  case readError
  /// A write answers EIO; the medium is unchanged.
  case writeError
  /// A flush answers EIO; nothing becomes durable by it.
  case flushError
  /// Only some of the write's 512-byte sectors reach the medium; the device reports success.
  case tornWrite(SimulatedTearing)
  /// Nothing reaches the medium; the device reports success.
  case lostWrite
  /// The data land elsewhere, at another block of the device; success is reported.
  case misdirectedWrite
  /// One bit of the range that is read flips on the medium, and stays so.
  case bitRot
  /// From here on every operation answers ENODEV.
  case vanish
}

/// Which sectors of a torn write reach the medium.
public enum SimulatedTearing: Sendable, Equatable {
  /// The first ones, fewer than all.
  case prefix
  /// Any of them, not all.
  case sectors
}

/// When a fault happens. All conditions must hold.
public struct SimulatedFaultRule: Sendable, Equatable {
  public var fault: SimulatedFault
  /// 0 never, 1 always.
  public var probability: Double
  /// Only operations that touch these bytes; nil is any.
  public var bytes: Range<UInt64>?
  /// Only the nth operation of the kind (read, write, flush), counted from 0; nil is any. For
  /// `.vanish` all kinds count together.
  public var operationNumber: UInt64?
  /// How often this rule may still strike.
  public var remaining: Int

  public init(
    _ fault: SimulatedFault, probability: Double = 1, bytes: Range<UInt64>? = nil,
    operationNumber: UInt64? = nil, limit: Int = .max
  ) {
    self.fault = fault
    self.probability = probability
    self.bytes = bytes
    self.operationNumber = operationNumber
    remaining = limit
  }
}

/// One operation that reached a simulated device, as recorded.
public struct SimulatedOperation: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case write
    case flush
    case discard
    case punchHole
    case resize
  }

  public let kind: Kind
  /// Counted from 0 over all recorded operations.
  public let sequence: UInt64
  public let offsetBytes: UInt64
  /// For `.resize` the new size.
  public let lengthBytes: UInt64
  /// The fault that struck it.
  public let fault: SimulatedFault?
}

extension SplitMix64 {
  /// Uniform in 0 ..< `bound`, which must not be 0; fixed here, as the standard library's method
  /// may change.
  mutating func below(_ bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }

  /// True with this probability.
  mutating func chance(_ probability: Double) -> Bool {
    Double(next() >> 11) * 0x1p-53 < probability
  }
}
