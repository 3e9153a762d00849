// SPDX-License-Identifier: GPL-2.0
// What our command asks a mount of ours for: to make or delete a subvolume.
//
// How it works
//   The driver's ioctls for that name paths by pointers into the caller's memory. FUSE hands a
//   server the bytes of an ioctl's argument and nothing that they point to, so these commands
//   cannot work through it. Ours carry the name within, go to the directory that it is, or shall
//   be, in, and have numbers of their own: who calls the driver's on a mount of ours gets ENOTTY.
// Invariants
//   (1) What comes in is bytes that anybody may have made: all is checked when it is decoded.
// Source: bcachefs_ioctl.h (`struct bch_ioctl_subvolume`), linux/ioctl.h.

internal import BcachefsFormat
internal import BcachefsSupport

/// An ioctl on a directory of a mount, by which subvolumes are made and deleted.
public struct SubvolumeRequest: Sendable, Hashable {
  /// What is to be done.
  public enum Action: UInt32, Sendable {
    /// An empty subvolume is made.
    case create = 0
    /// A snapshot is made, and may be changed.
    case snapshot = 1
    /// A snapshot is made that nobody may change.
    case readOnlySnapshot = 3
    /// A subvolume is deleted.
    case delete = 4
  }

  /// What is to be done.
  public var action: Action
  /// Bits that the root of a new subvolume shall not have.
  public var umask: UInt32 = 0
  /// Of what a snapshot is made: the number of a subvolume, as `SubvolumeIdentity` tells it.
  public var source: UInt32 = 0
  /// In the directory.
  public var name: [UInt8]

  private enum Layout {
    static var action: LEField<UInt32> { .init(0) }
    static var umask: LEField<UInt32> { .init(4) }
    static var source: LEField<UInt32> { .init(8) }
    static var nameByteCount: LEField<UInt32> { .init(12) }
    static var name: Int { 16 }
    static var nameMax: Int { 256 }
    static var byteCount: Int { name + nameMax }
  }

  /// The ioctl's number.
  public static let command = IoctlNumber.write(0xe0, byteCount: Layout.byteCount)

  /// To do something with a name.
  public init(_ action: Action, name: [UInt8]) {
    self.action = action
    self.name = name
  }

  /// What somebody asked for; nil where it makes no sense.
  init?(decoding bytes: RawSpan) {
    guard bytes.byteCount >= Layout.byteCount, let action = Action(rawValue: bytes[Layout.action])
    else { return nil }
    let count = Int(bytes[Layout.nameByteCount])
    guard count > 0, count <= Layout.nameMax else { return nil }
    self.init(
      action, name: bytes.extracting(Layout.name..<Layout.name + count).copiedBytes)
    umask = bytes[Layout.umask] & 0o777
    source = bytes[Layout.source]
  }

  /// The ioctl's argument; nil for a name that is too long.
  public var encoded: [UInt8]? {
    guard name.count <= Layout.nameMax else { return nil }
    var bytes = [UInt8](repeating: 0, count: Layout.byteCount)
    var span = bytes.mutableRawBytes
    span[Layout.action] = action.rawValue
    span[Layout.umask] = umask
    span[Layout.source] = source
    span[Layout.nameByteCount] = UInt32(name.count)
    span.copy(name.rawBytes, to: Layout.name)
    return bytes
  }
}

/// Which subvolume a file of a mount is in: the answer to an ioctl.
public struct SubvolumeIdentity: Sendable, Hashable {
  /// Its number.
  public var subvolume: UInt32
  /// Whether the file is its root.
  public var isRoot: Bool

  private static var field: LEField<UInt32> { .init(0) }
  private static var rootField: LEField<UInt32> { .init(4) }
  /// Bytes of the ioctl's argument.
  public static let byteCount = 8

  /// The ioctl's number.
  public static let command = IoctlNumber.read(0xe1, byteCount: byteCount)

  init(subvolume: UInt32, isRoot: Bool) {
    self.subvolume = subvolume
    self.isRoot = isRoot
  }

  /// What a mount answered; nil for anything else.
  public init?(decoding bytes: [UInt8]) {
    guard bytes.count >= Self.byteCount else { return nil }
    self.init(
      subvolume: bytes.rawBytes[Self.field], isRoot: bytes.rawBytes[Self.rootField] != 0)
  }

  var encoded: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.byteCount)
    var span = bytes.mutableRawBytes
    span[Self.field] = subvolume
    span[Self.rootField] = isRoot ? 1 : 0
    return bytes
  }
}

/// Numbers of ioctls, as the macros of linux/ioctl.h make them; upstream's letter is 0xbc.
enum IoctlNumber {
  /// An argument that goes in.
  static func write(_ number: UInt32, byteCount: Int, letter: UInt32 = 0xbc) -> UInt32 {
    1 << 30 | UInt32(byteCount) << 16 | letter << 8 | number
  }

  /// One that comes out.
  static func read(_ number: UInt32, byteCount: Int, letter: UInt32 = 0xbc) -> UInt32 {
    2 << 30 | UInt32(byteCount) << 16 | letter << 8 | number
  }
}
