// SPDX-License-Identifier: GPL-2.0
// A mount from its beginning to its end.
//
// How it works
//   1. libfuse mounts (as root by mount(2), else by fusermount3) and serves requests on threads of
//      its own until somebody unmounts, or SIGINT, SIGTERM or SIGHUP comes (MountSignals). Then it
//      unmounts itself.
//   2. The first request raises the kernel's read-ahead for this mount to what one read can carry:
//      FUSE itself has 128 KiB, and sets that when the connection begins.
// Invariants
//   (1) However serving ends, nothing stays mounted.
// Locks: none.

public import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport
internal import CFUSE
internal import Glibc

/// A volume that is mounted, or about to be.
public struct Mount: Sendable {
  /// Threads that answer requests.
  public static let threads: UInt32 = 10

  private enum Subject {
    case volume(Volume)
    case system(FileSystem)
  }

  private let subject: Subject
  private let source: String
  private let directory: String
  private let options: MountOptions

  /// - Parameters:
  ///   - source: What is shown as the mount's device.
  ///   - directory: Where it is to be seen.
  /// - Throws: `.usage` if that is no directory.
  public init(
    _ volume: Volume, source: String, directory: String, options: MountOptions
  ) throws(MountError) {
    try self.init(.volume(volume), source: source, directory: directory, options: options)
  }

  /// The same for a volume that is open for changes. Whoever opened it closes it, when it is not
  /// served any more.
  public init(
    _ system: FileSystem, source: String, directory: String, options: MountOptions
  ) throws(MountError) {
    try self.init(.system(system), source: source, directory: directory, options: options)
  }

  private init(
    _ subject: Subject, source: String, directory: String, options: MountOptions
  ) throws(MountError) {
    guard let real = unsafe realpath(directory, nil) else {
      throw MountError(.usage, "\(directory): \(unsafe String(cString: strerror(errno)))")
    }
    defer { unsafe free(real) }
    self.directory = unsafe String(cString: real)
    self.subject = subject
    self.source = source
    self.options = options
  }

  /// Mounts, serves, and returns when it is unmounted again.
  ///
  /// - Parameters:
  ///   - log: Called for what could not be read, from any thread.
  ///   - end: Told where to wait for the end of the mount. The caller tells it when that has come.
  ///   - becameReady: Called once the mount can be used, on another thread.
  /// - Throws: `.usage` if `subvol` names no directory; `.system`, `.mount`.
  public func serve(
    log: @escaping @Sendable (String) -> Void, end: MountEnd? = nil,
    becameReady: @escaping @Sendable () -> Void = {}
  ) throws(MountError) {
    let directory = directory
    let root = try root()
    let connection = ConnectionState(
      becameReady: becameReady,
      firstRequest: {
        ReadAhead.raise(for: directory, toBytes: ConnectionState.maxTransferBytes)
      })
    let (served, table): (SessionServer, fuse_lowlevel_ops)
    var writers: OpenWriters?
    switch subject {
    case .volume(let volume):
      served = SessionServer(VolumeServer(volume, root: root, connection, log: log))
      table = Operations.table()
    case .system(let system):
      let files = FileServer(system, root: root, connection, log: log)
      served = SessionServer(files, files: files)
      table = FileOperations.table()
      writers = files.writers
    }
    let session = unsafe try newSession(served, table)
    // libfuse has it by a plain pointer.
    defer { withExtendedLifetime(served) {} }
    defer { unsafe fuse_session_destroy(session) }
    unsafe served.server.begin(session)
    defer { served.server.end() }
    let signals = unsafe MountSignals(session, directory: directory, writers: writers)
    try signals.start()
    guard unsafe fuse_session_mount(session, directory) == 0 else {
      signals.end()
      throw MountError(.mount, "\(directory): \(Self.refusal(for: directory))")
    }
    // Behind the unmount.
    defer { end?.stopListening() }
    defer { unsafe fuse_session_unmount(session) }
    if let mount = MountEntry.at(directory) { end?.listen(for: mount) }
    let result = unsafe cfuse_session_loop(session, Self.threads, 0)
    signals.end()
    if result < 0 {
      throw MountError(
        .system, "\(directory): serving ended: \(unsafe String(cString: strerror(-result)))")
    }
  }

  /// Why libfuse did not mount, as far as one can see; it has said what the call was.
  private static func refusal(for directory: String) -> String {
    let what = "it could not be mounted"
    if unsafe access("/dev/fuse", F_OK) != 0 {
      return "\(what): there is no /dev/fuse (modprobe fuse; in a container it must be passed in)"
    }
    guard geteuid() != 0 else {
      return "\(what): the system does not let root mount here, as in a container without "
        + "CAP_SYS_ADMIN"
    }
    if unsafe access("/dev/fuse", R_OK | W_OK) != 0 {
      return "\(what): this user may not open /dev/fuse; usually everybody may (chmod 666)"
    }
    if unsafe access(directory, W_OK) != 0 {
      return "\(what): without being root one must be able to write to the directory"
    }
    return "\(what): without being root it takes fusermount3 (package fuse3), and for allow_other "
      + "the word user_allow_other in /etc/fuse.conf"
  }

  /// What the mount shows as its root.
  private func root() throws(MountError) -> FileID {
    do throws(VolumeError) {
      switch subject {
      case .volume(let volume):
        guard let path = options.subvolume else { return volume.root }
        let file = try volume.resolve(path)
        guard try volume.inode(file).isDirectory else {
          throw VolumeError(.notADirectory, "it is not a directory")
        }
        return file
      case .system(let system):
        guard let path = options.subvolume else { return system.root }
        let found = try system.resolve(path)
        guard found.inode.isDirectory else {
          throw VolumeError(.notADirectory, "it is not a directory")
        }
        return found.id
      }
    } catch {
      let path = options.subvolume ?? "/"
      throw MountError(.usage, "option subvol=\(path): \(error)")
    }
  }

  private func newSession(
    _ server: SessionServer, _ operations: fuse_lowlevel_ops
  ) throws(MountError) -> OpaquePointer {
    let list = options.sessionOptions(source: source, isRoot: geteuid() == 0)
    var words = unsafe ["bcachefs", "-o", list].map { (word: String) in unsafe strdup(word) }
    defer { unsafe words.forEach { unsafe free($0) } }
    var operations = operations
    let session = unsafe cfuse_session_new(
      Int32(words.count), &words, &operations, Unmanaged.passUnretained(server).toOpaque())
    guard let session = unsafe session else {
      throw MountError(.system, "libfuse does not accept \(list)")
    }
    return unsafe session
  }
}
