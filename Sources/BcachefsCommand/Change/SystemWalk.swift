// SPDX-License-Identifier: GPL-2.0
// Everything below a directory of a volume that is open for changes, without recursion.
//
// Invariants
//   (1) A directory is visited before what is in it, and left after it.
//   (2) Names may be removed while they are walked: each is met once.
//   (3) Memory is a batch of names for each level.

internal import Bcachefs
internal import BcachefsFormat

/// A file that a walk meets.
struct SystemWalkEntry {
  let name: [UInt8]
  let id: FileID
  let parent: FileID
  /// What the walk was told of its root, and the names from there.
  let path: [UInt8]
  let kind: FileKind?

  var isDirectory: Bool { kind == .directory }
}

struct SystemWalk {
  private struct Frame {
    let entry: SystemWalkEntry
    var batch: [DirectoryEntry] = []
    var next = 0
    var offset: UInt64 = 0
  }

  let system: FileSystem
  /// Whether SIGINT and SIGTERM end it.
  var mayBeInterrupted = true

  /// Walks what is below a directory, not the directory itself.
  ///
  /// - Parameters:
  ///   - path: The directory's, for the paths of what is met.
  ///   - visit: Returns whether a directory is to be entered.
  ///   - leave: After all in a directory.
  func run(
    below root: FileID, path: [UInt8],
    visit: (SystemWalkEntry) throws(CommandFailure) -> Bool,
    leave: (SystemWalkEntry) throws(CommandFailure) -> Void = { (_) throws(CommandFailure) in }
  ) throws(CommandFailure) {
    let top = SystemWalkEntry(name: [], id: root, parent: root, path: path, kind: .directory)
    var stack = [Frame(entry: top)]
    while var frame = stack.popLast() {
      if mayBeInterrupted { try ChangeReport.checkInterruption() }
      if frame.next == frame.batch.count { try readOn(&frame) }
      guard frame.next < frame.batch.count else {
        if !stack.isEmpty { try leave(frame.entry) }
        continue
      }
      let found = frame.batch[frame.next]
      frame.next += 1
      let above = frame.entry
      stack.append(frame)
      let entry = SystemWalkEntry(
        name: found.name, id: found.id, parent: above.id,
        path: above.path + [UInt8(ascii: "/")] + found.name,
        kind: FileKind(direntType: found.type))
      if try visit(entry), entry.isDirectory { stack.append(Frame(entry: entry)) }
    }
  }

  private func readOn(_ frame: inout Frame) throws(CommandFailure) {
    do throws(VolumeError) {
      frame.batch = try system.entries(of: frame.entry.id, from: frame.offset)
    } catch {
      throw CommandFailure(error, at: frame.entry.path)
    }
    frame.next = 0
    if let last = frame.batch.last { frame.offset = last.nextOffset }
  }

  /// Removes everything below a directory, deepest first.
  ///
  /// - Parameter note: Called for each name that is gone.
  func removeAll(
    below root: FileID, path: [UInt8], note: () -> Void = {}
  ) throws(CommandFailure) {
    try run(below: root, path: path) { (entry) throws(CommandFailure) in
      guard !entry.isDirectory else { return true }
      try naming(entry.path) { () throws(VolumeError) in
        try system.unlink(entry.name, in: entry.parent)
      }
      note()
      return false
    } leave: { (entry) throws(CommandFailure) in
      try naming(entry.path) { () throws(VolumeError) in
        try system.removeDirectory(entry.name, in: entry.parent)
      }
      note()
    }
  }

  private func naming(
    _ path: [UInt8], _ body: () throws(VolumeError) -> Void
  ) throws(CommandFailure) {
    do throws(VolumeError) { try body() } catch { throw CommandFailure(error, at: path) }
  }
}
