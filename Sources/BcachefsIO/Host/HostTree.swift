// SPDX-License-Identifier: GPL-2.0
// A directory tree of the host, read without following a link out of it.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// An open descriptor, closed with its owner.
struct HostDescriptor: ~Copyable, Sendable {
  let number: Int32
  deinit { _ = close(number) }
}

/// The root of a tree that is to be read. Any thread may use it.
///
/// Names are looked up beneath the root without following links, so what is read lies in the tree,
/// even if somebody renames in it meanwhile; mounted filesystems are entered.
public final class HostTree: Sendable {
  /// The root's own path, as it was given.
  public let rootBytes: [UInt8]
  private let root: HostDescriptor

  /// The longest path, in bytes, that is handed to the kernel at once (PATH_MAX with its NUL).
  static let chunkByteCountMax = 4095

  /// Opens the directory at `path`; links are followed in this path only.
  ///
  /// - Throws: `.vanished`, `.notADirectory`, `.system`; `.invalidName` if it is empty or
  ///   holds a NUL.
  public convenience init(_ path: String) throws(HostError) {
    try self.init(pathBytes: Array(path.utf8))
  }

  /// Opens the directory at `pathBytes`, which need not be UTF-8.
  public init(pathBytes: [UInt8]) throws(HostError) {
    guard !pathBytes.isEmpty, !pathBytes.contains(0) else {
      throw HostError(.open, .invalidName, pathBytes: pathBytes)
    }
    let text = pathBytes.map { CChar(bitPattern: $0) } + [0]
    let number = unsafe linux_open_root(text)
    guard number >= 0 else {
      throw HostError(.open, .init(errno: -number), pathBytes: pathBytes)
    }
    root = HostDescriptor(number: number)
    rootBytes = pathBytes
  }

  /// The state of the root directory.
  public func stat() throws(HostError) -> HostStat {
    switch unsafe HostStat.get(root.number, "") {
    case .success(let stat): return stat
    case .failure(let reason): throw error(.examine, reason, .root)
    }
  }

  /// Opens a directory of the tree, however long its path is.
  ///
  /// - Throws: `.vanished`; `.notADirectory`, `.symbolicLink` (of any component); `.invalidName` if
  ///   a component is empty, `.` or `..`; `.system`.
  /// - Complexity: two calls, and two more for each 4095 bytes of the path; a call a component on
  ///   kernels before 5.6.
  public func directory(at path: HostPath) throws(HostError) -> HostDirectory {
    try directory(at: path, chunkByteCountMax: Self.chunkByteCountMax)
  }

  func directory(
    at path: HostPath, chunkByteCountMax: Int
  ) throws(HostError) -> HostDirectory {
    guard Self.isWellFormed(path.bytes) else { throw error(.open, .invalidName, path) }
    var chunkMax = chunkByteCountMax
    var start = 0
    var reached: HostDescriptor? = nil
    while start < path.bytes.count {
      let end = Self.chunkEnd(in: path.bytes, from: start, byteCountMax: chunkMax)
      let chunk = path.bytes[start..<end].map { CChar(bitPattern: $0) } + [0]
      let from = reached?.number ?? root.number
      let next =
        chunkMax > 0
        ? unsafe linux_open_path_beneath(from, chunk)
        : unsafe linux_open_path_component(from, chunk)
      if next == -ENOSYS && chunkMax > 0 {
        chunkMax = 0
        continue
      }
      guard next >= 0 else { throw error(.open, .init(errno: -next), path) }
      reached = HostDescriptor(number: next)
      start = end + 1
    }
    let opened = unsafe linux_open_reading(reached?.number ?? root.number, ".", 1)
    guard opened >= 0 else { throw error(.open, .init(errno: -opened), path) }
    return HostDirectory(tree: self, path: path, descriptor: HostDescriptor(number: opened))
  }

  /// The end of the components that start at `start` and take at most `byteCountMax` bytes, but of
  /// one at least.
  private static func chunkEnd(in bytes: [UInt8], from start: Int, byteCountMax: Int) -> Int {
    let slash = UInt8(ascii: "/")
    if bytes.count - start <= byteCountMax { return bytes.count }
    let limit = min(bytes.count - 1, start + byteCountMax)
    if byteCountMax > 0, let last = bytes[start...limit].lastIndex(of: slash), last > start {
      return last
    }
    return bytes[start...].firstIndex(of: slash) ?? bytes.count
  }

  private static func isWellFormed(_ bytes: [UInt8]) -> Bool {
    if bytes.isEmpty { return true }
    let dot = UInt8(ascii: ".")
    var start = 0
    while start <= bytes.count {
      let end = bytes[start...].firstIndex(of: UInt8(ascii: "/")) ?? bytes.count
      let name = bytes[start..<end]
      if name.isEmpty || name.elementsEqual([dot]) || name.elementsEqual([dot, dot]) {
        return false
      }
      start = end + 1
    }
    return !bytes.contains(0)
  }

  /// A path of the tree with the root's own before it, for people.
  func wholePath(_ path: HostPath) -> [UInt8] {
    let slash = UInt8(ascii: "/")
    var bytes = rootBytes
    if !path.isRoot {
      if bytes.last != slash { bytes.append(slash) }
      bytes += path.bytes
    }
    return bytes
  }

  @inline(never)
  func error(
    _ operation: HostError.Operation, _ reason: HostError.Reason, _ path: HostPath,
    detail: [UInt8] = []
  ) -> HostError {
    HostError(operation, reason, pathBytes: wholePath(path), detail: detail)
  }
}
