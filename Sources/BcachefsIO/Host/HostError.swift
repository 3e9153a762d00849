// SPDX-License-Identifier: GPL-2.0
// What went wrong with a file of the host: where, why, and what to do about it.

#if canImport(Glibc)
internal import Glibc
#endif

/// A file, directory or link of the host could not be read, or is not what it was.
public struct HostError: Error, Sendable, Equatable {
  /// What was being done.
  public enum Operation: String, Sendable {
    case open
    case examine
    case list = "list the directory"
    case read
    case readLink = "read the target of the symbolic link"
    case listXattrs = "list the extended attributes of"
    case readXattr = "read an extended attribute of"
    case findHoles = "find the holes of"
    case create
    case write = "write to"
    case remove
    case setOwner = "set the owner of"
    case setMode = "set the permissions of"
    case setTimes = "set the times of"
    case setXattr = "set an extended attribute of"
    case control = "make or delete a subvolume in"
    case createSpill = "create a temporary file in"
    case appendToSpill = "write to a temporary file in"
    case readFromSpill = "read back a temporary file in"
  }

  /// Why it failed.
  public enum Reason: Error, Sendable, Equatable {
    /// The kernel's answer, an errno.
    case system(Int32)
    /// It was listed, or should be there, and is not.
    case vanished
    /// A directory was asked for.
    case notADirectory
    /// Something else was asked for, and links are not followed.
    case symbolicLink
    /// A regular file was asked for.
    case notARegularFile
    /// The difference between what was seen first and last.
    case changedWhileReading(HostChange)
    /// Empty, `.`, `..`, or with a slash or NUL in it.
    case invalidName
    /// The directory's listing, as the kernel gave it, makes no sense.
    case malformedListing
    /// The range does not lie within the file's `byteCount`, or no offset can express it.
    case outOfBounds(byteCount: UInt64)

    /// What an errno says, by name where it has one here.
    public init(errno number: Int32) {
      self =
        switch number {
        case ENOENT, ESTALE: .vanished
        case ENOTDIR: .notADirectory
        case ELOOP: .symbolicLink
        case EISDIR, ESPIPE, ENXIO: .notARegularFile
        default: .system(number)
        }
    }
  }

  public let operation: Operation
  public let reason: Reason
  /// The whole path from the working directory or from `/`, whatever bytes it has.
  public let pathBytes: [UInt8]
  /// More about the place, such as the attribute's name.
  public let detail: [UInt8]

  @inline(never)
  public init(
    _ operation: Operation, _ reason: Reason, pathBytes: [UInt8], detail: [UInt8] = []
  ) {
    self.operation = operation
    self.reason = reason
    self.pathBytes = pathBytes
    self.detail = detail
  }

  /// Whether everything that follows will fail likewise: no space, a read-only or broken
  /// filesystem.
  public var endsEverything: Bool {
    switch reason {
    case .system(ENOSPC), .system(EDQUOT), .system(EROFS), .system(EIO): true
    default: false
    }
  }

  /// The errno that says the same, for callers that speak POSIX.
  public var errorNumber: Int32 {
    switch reason {
    case .system(let number): number
    case .vanished: ENOENT
    case .notADirectory: ENOTDIR
    case .symbolicLink: ELOOP
    case .notARegularFile, .invalidName, .outOfBounds: EINVAL
    case .changedWhileReading: ESTALE
    case .malformedListing: EIO
    }
  }
}

// MARK: - Text

extension HostError: CustomStringConvertible {
  /// One line: what could not be done, where, why, and what to do next.
  public var description: String {
    let place = detail.isEmpty ? "" : " (\(escapedName(detail)))"
    let advice = self.advice.map { "; \($0)" } ?? ""
    return "cannot \(operation.rawValue) \(escapedName(pathBytes))\(place): \(cause)\(advice)"
  }

  private var cause: String {
    switch reason {
    case .system(let number): unsafe String(cString: strerror(number))
    case .vanished: "it is not there"
    case .notADirectory: "it is not a directory"
    case .symbolicLink: "it is a symbolic link"
    case .notARegularFile: "it is not a regular file"
    case .changedWhileReading(let changes): "it changed while it was read (\(changes))"
    case .invalidName: "that is not a name in a directory"
    case .malformedListing: "its filesystem lists it wrongly"
    case .outOfBounds(let byteCount): "beyond the end, it has \(byteCount) bytes"
    }
  }

  private var advice: String? {
    switch reason {
    case .vanished where operation == .open && !pathBytes.isEmpty,
      .vanished where operation == .examine:
      "check the path, and that nobody changes the tree meanwhile"
    case .vanished, .changedWhileReading: "run again when nobody changes the tree"
    case .notADirectory: "name a directory, and see that nobody changes the tree meanwhile"
    case .symbolicLink, .notARegularFile: "see that nobody changes the tree meanwhile"
    case .system(EACCES), .system(EPERM): "check its permissions, or run as root"
    case .system(EMFILE), .system(ENFILE): "raise the limit of open files (ulimit -n)"
    case .system(ENOSPC), .system(EDQUOT):
      operation == .appendToSpill || operation == .createSpill
        ? "free some space, or set TMPDIR to another place" : "free some space there"
    case .system(ENOSYS) where operation == .listXattrs || operation == .readXattr:
      "mount /proc, or use Linux 6.13 or later"
    case .system(EIO), .malformedListing:
      "its medium or filesystem fails, see the kernel's messages"
    default: nil
    }
  }
}
