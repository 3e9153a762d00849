// SPDX-License-Identifier: GPL-2.0
// What the kernel says of one file, in one call.

internal import CLinuxShims

/// What `statx` says of a file of any kind. Times are nanoseconds since 1970, clamped to what 64
/// bits hold (the years 1677 to 2262).
public struct HostStat: Sendable, Equatable {
  /// The file's kind: the bits of `S_IFMT` in its mode.
  public enum Kind: UInt32, Sendable {
    case fifo = 0o010000
    case characterDevice = 0o020000
    case directory = 0o040000
    case blockDevice = 0o060000
    case regularFile = 0o100000
    case symbolicLink = 0o120000
    case socket = 0o140000
  }

  /// The mounted filesystem that holds it: major number in the upper half, minor in the lower.
  public let device: UInt64
  public let inode: UInt64
  /// Kind and permissions.
  public let mode: UInt32
  public let linkCount: UInt32
  public let uid: UInt32
  public let gid: UInt32
  /// The size: of a file's contents, of a symbolic link's target.
  public let byteCount: UInt64
  /// Space taken, in units of 512 bytes.
  public let blocks512: UInt64
  /// Major number of a device node, else 0.
  public let deviceMajor: UInt32
  /// Minor number of a device node, else 0.
  public let deviceMinor: UInt32
  public let accessTime: Int64
  public let modificationTime: Int64
  public let changeTime: Int64
  /// Nil where the filesystem does not keep it.
  public let birthTime: Int64?

  /// Nil for a kind that Linux does not have.
  public var kind: Kind? { Kind(rawValue: mode & 0o170000) }

  public var isDirectory: Bool { kind == .directory }
  public var isRegularFile: Bool { kind == .regularFile }

  /// False when the file takes at least its size in space, so that asking for holes is hardly worth
  /// a call. A hint: space reserved beyond the end hides a hole, compression looks like one.
  public var mayHaveHoles: Bool {
    let (bytes, overflow) = blocks512.multipliedReportingOverflow(by: 512)
    return !overflow && bytes < byteCount
  }

  /// In what this state of a file differs from an `earlier` one, as far as contents, attributes
  /// and identity go; access time and space taken do not count.
  public func changes(since earlier: HostStat) -> HostChange {
    var changes: HostChange = []
    if device != earlier.device || inode != earlier.inode { changes.insert(.identity) }
    if kind != earlier.kind { changes.insert(.kind) }
    if byteCount != earlier.byteCount { changes.insert(.size) }
    if modificationTime != earlier.modificationTime { changes.insert(.modificationTime) }
    if changeTime != earlier.changeTime { changes.insert(.changeTime) }
    return changes
  }
}

extension HostStat {
  init(_ status: linux_status) {
    device = status.device
    inode = status.inode
    mode = status.mode
    linkCount = status.link_count
    uid = status.user
    gid = status.group
    byteCount = status.byte_count
    blocks512 = status.blocks_512
    deviceMajor = status.device_major
    deviceMinor = status.device_minor
    accessTime = Self.nanoseconds(status.access)
    modificationTime = Self.nanoseconds(status.modification)
    changeTime = Self.nanoseconds(status.change)
    birthTime = status.has_birth != 0 ? Self.nanoseconds(status.birth) : nil
  }

  static func nanoseconds(_ time: linux_time) -> Int64 {
    let limit = time.seconds < 0 ? Int64.min : Int64.max
    let (product, tooFar) = time.seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if tooFar { return nearLimit(time) ?? limit }
    let (sum, overflow) = product.addingReportingOverflow(Int64(time.nanoseconds))
    return overflow ? limit : sum
  }

  /// The second that contains `Int64.min` starts before it: only its later part can be expressed.
  private static func nearLimit(_ time: linux_time) -> Int64? {
    guard time.seconds == Int64.min / 1_000_000_000 - 1 else { return nil }
    let rest = Int64(time.nanoseconds) - 1_000_000_000
    let (product, _) = (time.seconds + 1).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, overflow) = product.addingReportingOverflow(rest)
    return overflow ? nil : sum
  }

  /// The state of `name` in the directory `descriptor`, or of the descriptor itself if it is empty.
  @unsafe static func get(
    _ descriptor: Int32, _ name: UnsafePointer<CChar>
  ) -> Result<HostStat, HostError.Reason> {
    var status = linux_status()
    let result = unsafe linux_status_get(descriptor, name, &status)
    return result == 0 ? .success(HostStat(status)) : .failure(.init(errno: -result))
  }
}

/// What differs between two states of a file.
public struct HostChange: OptionSet, Sendable, CustomStringConvertible {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Another file has taken its name.
  public static let identity = HostChange(rawValue: 1 << 0)
  public static let kind = HostChange(rawValue: 1 << 1)
  public static let size = HostChange(rawValue: 1 << 2)
  public static let modificationTime = HostChange(rawValue: 1 << 3)
  /// Changed by whatever changes the inode: permissions, links, attributes.
  public static let changeTime = HostChange(rawValue: 1 << 4)
  /// Holes came or went while they were looked for.
  public static let holes = HostChange(rawValue: 1 << 5)

  /// The names of what differs, with commas.
  public var description: String {
    let names: [(HostChange, String)] = [
      (.identity, "another file took its name"), (.kind, "its kind"), (.size, "its size"),
      (.modificationTime, "its modification time"), (.changeTime, "its change time"),
      (.holes, "its holes"),
    ]
    return names.filter { contains($0.0) }.map(\.1).joined(separator: ", ")
  }
}
