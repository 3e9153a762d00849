// SPDX-License-Identifier: GPL-2.0
// What the superblock tells of each device. Numbers are persistent and must never change.

/// What a device is used for (`enum bch_member_state`).
@frozen
public struct MemberState: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "member_state"
  public static let names: [StaticString] = [
    "rw", "ro", "failed", "spare",
  ]
}

// swift-format-ignore
extension MemberState {
  @inlinable public static var rw: MemberState { .init(rawValue: 0) }
  @inlinable public static var ro: MemberState { .init(rawValue: 1) }
  @inlinable public static var failed: MemberState { .init(rawValue: 2) }
  @inlinable public static var spare: MemberState { .init(rawValue: 3) }
}

/// What kinds of I/O error are counted for each device (`enum bch_member_error_type`).
@frozen
public struct MemberErrorType: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "member_error_type"
  public static let names: [StaticString] = [
    "read", "write", "checksum",
  ]
}

// swift-format-ignore
extension MemberErrorType {
  @inlinable public static var read: MemberErrorType { .init(rawValue: 0) }
  @inlinable public static var write: MemberErrorType { .init(rawValue: 1) }
  @inlinable public static var checksum: MemberErrorType { .init(rawValue: 2) }
}

/// What `bch_member.iops` measured (`enum bch_iops_measurement`).
@frozen
public struct IOPSMeasurement: PersistentNumber {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let tableName: StaticString = "iops_measurement"
  public static let names: [StaticString] = [
    "seqread", "seqwrite", "randread", "randwrite",
  ]
}

// swift-format-ignore
extension IOPSMeasurement {
  @inlinable public static var seqread: IOPSMeasurement { .init(rawValue: 0) }
  @inlinable public static var seqwrite: IOPSMeasurement { .init(rawValue: 1) }
  @inlinable public static var randread: IOPSMeasurement { .init(rawValue: 2) }
  @inlinable public static var randwrite: IOPSMeasurement { .init(rawValue: 3) }
}
