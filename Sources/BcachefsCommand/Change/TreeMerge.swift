// SPDX-License-Identifier: GPL-2.0
// A tree that is whole goes into a directory that is there, name by name.
//
// How it works
//   1. What has no counterpart is moved as it is, whole directories too. A file replaces a file, in
//      one transaction. Of two directories that have one name the contents are merged, and the one
//      that stays gets the other's attributes.
//   2. A directory that cannot be moved, because the one that it goes to has options of its own, is
//      made there anew, and what is in it is moved, which then follows the new one's options.
// Invariants
//   (1) At no moment is a name missing that was there before.
//   (2) What cannot be moved is named, stays where it was, and keeps nothing else from going.

internal import Bcachefs
internal import BcachefsFormat

struct TreeMerge {
  let system: FileSystem
  let report: ChangeReport

  private struct Frame {
    let from: FileID
    let to: FileID
    let path: [UInt8]
    /// What the directory that stays gets at the end; nil: what it has.
    let attributes: NewAttributes?
    /// Its name in the directory above, where it is removed when it is empty.
    let name: [UInt8]
    var offset: UInt64 = 0
    /// Where the names are that could not be moved.
    var left = false
  }

  /// Moves all that is in a directory to another one.
  ///
  /// - Parameters:
  ///   - path: The other one's, for messages.
  ///   - attributes: What that one gets at the end; nil: what it has.
  func run(
    from: FileID, to: FileID, path: [UInt8], attributes: NewAttributes?
  ) throws(CommandFailure) {
    var stack = [Frame(from: from, to: to, path: path, attributes: attributes, name: [])]
    while var frame = stack.popLast() {
      try ChangeReport.checkInterruption()
      let batch: [DirectoryEntry]
      do throws(VolumeError) {
        batch = try system.entries(of: frame.from, from: frame.offset, limit: 1)
      } catch {
        throw CommandFailure(error, at: frame.path)
      }
      guard let entry = batch.first else {
        finish(frame, &stack)
        continue
      }
      frame.offset = entry.nextOffset
      let entryPath = frame.path + [UInt8(ascii: "/")] + entry.name
      do throws(VolumeError) {
        let next = try move(entry, frame, entryPath)
        stack.append(frame)
        if let next { stack.append(next) }
      } catch {
        report.add(entryPath, error)
        frame.left = true
        stack.append(frame)
      }
    }
  }

  /// Moves one name.
  ///
  /// - Returns: two directories whose contents are to be merged.
  private func move(
    _ entry: DirectoryEntry, _ frame: Frame, _ path: [UInt8]
  ) throws(VolumeError) -> Frame? {
    let isDirectory = FileKind(direntType: entry.type) == .directory
    do throws(VolumeError) {
      try system.rename(
        entry.name, in: frame.from, to: entry.name, in: frame.to, isDirectory ? .noReplace : [])
      report.addDone()
      return nil
    } catch {
      guard isDirectory, error.code == .exists || error.code == .crossSubvolume else {
        throw error
      }
    }
    let from = try system.attributes(of: entry.id)
    let attributes = try NewAttributes(from, of: system)
    let to = try directory(entry.name, in: frame.to, attributes)
    return Frame(
      from: entry.id, to: to, path: path, attributes: attributes, name: entry.name)
  }

  /// The directory of a name, which is made if there is none.
  private func directory(
    _ name: [UInt8], in parent: FileID, _ attributes: NewAttributes
  ) throws(VolumeError) -> FileID {
    do throws(VolumeError) {
      return try system.create(name, in: parent, attributes.creation(.directory)).id
    } catch {
      guard error.code == .exists else { throw error }
      let found = try system.lookup(name, in: parent)
      guard found.kind == .directory else { throw VolumeError(.exists, "it is no directory") }
      return found.id
    }
  }

  /// All of a directory was moved, or named.
  private func finish(_ frame: Frame, _ stack: inout [Frame]) {
    do throws(VolumeError) {
      try frame.attributes?.replace(of: frame.to, system)
      guard let above = stack.last else { return }
      if frame.left {
        stack[stack.count - 1].left = true
      } else {
        try system.removeDirectory(frame.name, in: above.from)
        report.addDone()
      }
    } catch {
      report.add(frame.path, error)
    }
  }
}
