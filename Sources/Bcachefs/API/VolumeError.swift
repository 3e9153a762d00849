// SPDX-License-Identifier: GPL-2.0
// What can go wrong with an open volume: one small value with a code to act on, and text for people
// that is only made when it is printed.

public import BcachefsFormat
public import BcachefsIO
public import BcachefsSupport

/// An operation on a volume failed.
public struct VolumeError: Error, Sendable, CustomStringConvertible {
  /// Why, for those who act on it.
  public enum Code: UInt16, Sendable {
    /// No such name, inode, subvolume.
    case notFound = 1
    case notADirectory
    case isADirectory
    /// Not a file of the kind that was asked for.
    case wrongType
    case nameTooLong
    /// No device holds a valid superblock.
    case notAVolume
    /// Devices belong to different volumes, or one of them is stale.
    case foreignMember
    /// Devices are missing, and `degraded` does not allow that.
    case missingMembers
    /// Two sides of the volume were changed apart.
    case splitBrain
    /// A feature or version that this program does not know.
    case unsupported
    /// Encrypted, and no key or a wrong one was given.
    case locked
    /// A structure contradicts the format.
    case corrupt
    /// Every copy of something is unreadable.
    case allCopiesBad
    /// The device itself failed.
    case device
    /// Too deep, too many, too large: a limit that protects the program.
    case limit
    /// No room is left on the devices.
    case noSpace
    /// The caller asked to stop.
    case cancelled
    /// The driver found the data lost and marked it so: what stands there is not what was written.
    case poisoned
    /// There is something of that name already, or an attribute (EEXIST).
    case exists
    /// A directory with names in it was to be removed, or replaced (ENOTEMPTY).
    case notEmpty
    /// What would have to reach from one subvolume into another, or change the options of a
    /// directory and all below it (EXDEV).
    case crossSubvolume
    /// A directory would be moved below itself (EINVAL).
    case loop
    /// A subvolume that nobody may change (EROFS).
    case readOnly
    /// One name more than can be counted (EMLINK).
    case tooManyLinks
    /// An argument that makes no sense: a name with a slash, an option without such a value
    /// (EINVAL).
    case invalid
    /// No such extended attribute (ENODATA).
    case noAttribute
    /// An attribute that does not fit a key, or more names of attributes than one answer may have
    /// (ERANGE).
    case tooLarge
    /// A file would end behind where files can (EFBIG).
    case fileTooLarge
    /// A default ACL for what is no directory (EACCES).
    case accessDenied
    /// A file that is immutable or may only grow, or a link to a directory (EPERM).
    case notPermitted
    /// A user, group or project may not have so much (EDQUOT).
    case quotaExceeded
  }

  /// What to act on.
  public let code: Code
  private let cause: Cause

  private enum Cause: Sendable {
    case none
    case text(String)
    /// Not even what is stored could be seen.
    case unread(String)
    case format(FormatError)
    case device(DeviceError)
    case checksum(ChecksumError)
    case encryption(EncryptionError)
  }

  /// - Parameter text: What happened, where, found and expected; without it the code's name.
  public init(_ code: Code, _ text: String? = nil) {
    self.code = code
    cause = text.map(Cause.text) ?? .none
  }

  /// `.allCopiesBad` where a device did not give a copy, or is missing: it may be there and good.
  static func unread(_ text: String) -> VolumeError {
    VolumeError(code: .allCopiesBad, cause: .unread(text))
  }

  private init(code: Code, cause: Cause) { (self.code, self.cause) = (code, cause) }

  /// `.unsupported` or `.corrupt`.
  public init(_ error: FormatError) {
    code = error.reason == .unsupported ? .unsupported : .corrupt
    cause = .format(error)
  }

  /// `.device`
  public init(_ error: DeviceError) {
    code = .device
    cause = .device(error)
  }

  /// `.corrupt`
  public init(_ error: ChecksumError) {
    code = .corrupt
    cause = .checksum(error)
  }

  /// `.locked`
  public init(_ error: EncryptionError) {
    code = .locked
    cause = .encryption(error)
  }

  /// What the device said, where that is the cause.
  public var deviceError: DeviceError? {
    if case .device(let error) = cause { error } else { nil }
  }

  /// Whether the same may succeed another time, though nobody mends anything on the volume.
  var mayPass: Bool {
    switch code {
    case .corrupt, .notFound: false
    case .allCopiesBad: if case .unread = cause { true } else { false }
    default: true
    }
  }

  /// One line for people.
  public var description: String {
    switch cause {
    case .none: "\(code)"
    case .text(let text), .unread(let text): text
    case .format(let error): "\(error)"
    case .device(let error): "\(error)"
    case .checksum(let error): "\(error)"
    case .encryption(let error): "\(error)"
    }
  }
}
