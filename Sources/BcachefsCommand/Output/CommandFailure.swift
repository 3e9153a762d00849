// SPDX-License-Identifier: GPL-2.0
// How a command ends when it does not succeed: an exit code of sysexits(3), and what to say.

internal import Bcachefs
internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

/// Exit codes (sysexits.h; those of checks are fsck(8)'s).
enum ExitStatus: Int32, Sendable {
  /// A check found errors, which are still there.
  case errorsLeft = 4
  /// A check could not be made.
  case checkFailed = 8
  /// A check was asked for that this program cannot make.
  case checkUsage = 16
  /// A check was interrupted.
  case checkInterrupted = 32
  /// The command line is wrong.
  case usage = 64
  /// What was read is not what it must be.
  case badData = 65
  /// A source or device is not there.
  case noInput = 66
  /// A defect of this program.
  case software = 70
  /// What was to be made cannot be made there.
  case cannotCreate = 73
  case inputOutput = 74
  /// May work when tried again.
  case temporary = 75
  case noPermission = 77
  /// Options contradict each other or the devices.
  case configuration = 78
}

/// A command's end, with what is printed.
struct CommandFailure: Error, Sendable {
  let status: ExitStatus
  let message: String
  /// What to do, on a line of its own.
  var advice: String?

  init(_ status: ExitStatus, _ message: String, advice: String? = nil) {
    self.status = status
    self.message = message
    self.advice = advice
  }

  static func usage(_ message: String, command: String) -> CommandFailure {
    CommandFailure(
      .usage, message, advice: "See bcachefs \(command.isEmpty ? "" : "\(command) ")--help")
  }
}

// MARK: - Errors of the layers below

extension CommandFailure {
  init(_ error: DeviceError) {
    let status: ExitStatus =
      switch error.reason {
      case .inUse: .temporary
      case .notADevice: .noInput
      case .alreadyExists, .invalidSize: .cannotCreate
      case .system(let number):
        Self.status(
          errno: number,
          otherwise: error.operation == .create || error.operation == .publish
            ? .cannotCreate : .inputOutput)
      default: .inputOutput
      }
    var advice: String?
    if case .alreadyExists = error.reason { advice = "--force replaces it." }
    self.init(status, error.description, advice: advice)
  }

  init(_ error: HostError) {
    let status: ExitStatus =
      switch error.reason {
      case .changedWhileReading: .temporary
      case .vanished, .notADirectory, .symbolicLink, .notARegularFile, .invalidName: .noInput
      case .system(let number): Self.status(errno: number, otherwise: .inputOutput)
      default: .inputOutput
      }
    self.init(status, error.description)
  }

  init(_ error: ImageError) {
    switch error {
    case .device(let error): self.init(error)
    case .host(let error): self.init(error)
    case .noSpace: self.init(.cannotCreate, error.description)
    case .invalidOptions: self.init(.configuration, error.description)
    case .unrepresentable: self.init(.badData, error.description)
    case .btreeTooDeep: self.init(.configuration, error.description)
    case .cancelled: self.init(.temporary, error.description)
    case .format, .checksum:
      self.init(.software, error.description, advice: "This is a defect: please report it.")
    }
  }

  private static func status(errno number: Int32, otherwise: ExitStatus) -> ExitStatus {
    switch number {
    case EACCES, EPERM, EROFS: .noPermission
    case ENOENT, ENOTDIR, ENXIO, ENODEV: otherwise == .cannotCreate ? .cannotCreate : .noInput
    case ENOSPC, EDQUOT, EIO, EFBIG: .inputOutput
    case EAGAIN, EBUSY, ETXTBSY, EINTR: .temporary
    default: otherwise
    }
  }
}
