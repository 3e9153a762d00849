// SPDX-License-Identifier: GPL-2.0
// Goes through a tree of a volume, directory by directory, past what cannot be read.
//
// How it works
//   1. A stack holds the directories on the way down, each with the names that are still to come.
//      Names are fetched in batches, so a directory of any size takes little memory; where they are
//      wanted in order, all of a directory's are fetched at once.
//   2. A directory says in its inode where its name stands: in which subvolume, directory and
//      place. One that is found elsewhere, as only damage makes it, is remembered and entered once.
//      So is the walk's root. Each directory has one place: a circle is entered at one of these.
//   3. Names that no file can have (`..`, or with a `/`) are damage and left out.
// Invariants
//   (1) Memory does not grow with the number of files (unless sorted: with those of one directory),
//       and paths are at most `pathByteMax` long.
//   (2) Every walk ends, whatever the volume says.

internal import Bcachefs
internal import BcachefsFormat

/// What a walk finds.
struct WalkEntry {
  /// From the walk's root, without `/` at either end; empty for the root itself.
  let path: [UInt8]
  let name: [UInt8]
  let attributes: FileAttributes
  /// 0 for the walk's root.
  let depth: Int
  /// Whether it is the last one of its directory; only known in sorted walks.
  let isLast: Bool

  var id: FileID { attributes.id }
  var inode: Inode { attributes.inode }
  var isDirectory: Bool { inode.isDirectory }
}

struct TreeWalk {
  private static let batch = 4096
  /// Linux can be told of 4096 bytes at once; every directory on the way down has its path.
  private static let pathByteMax = 1 << 14

  private struct Frame {
    let entry: WalkEntry
    var children: [DirectoryEntry]
    var next = 0
    /// Where the next batch starts, nil behind the last.
    var nextOffset: UInt64?
  }

  let volume: Volume
  let isSorted: Bool
  let damage: DamageReport

  /// Calls `visit` for the root and all below it, parents first.
  ///
  /// - Parameters:
  ///   - visit: Whether to go into a directory.
  ///   - leave: Called when all below a directory was visited.
  func run(
    from root: FileID, visit: (WalkEntry) throws(CommandFailure) -> Bool,
    leave: (WalkEntry) throws(CommandFailure) -> Void = { (_) throws(CommandFailure) in }
  ) throws(CommandFailure) {
    let attributes = try VolumeOperand.reading { () throws(VolumeError) in
      try volume.attributes(root)
    }
    let top = WalkEntry(path: [], name: [], attributes: attributes, depth: 0, isLast: true)
    guard try visit(top), top.isDirectory else { return }
    var misplaced: Set<FileID> = [root]
    var stack = [frame(top)]
    while !stack.isEmpty {
      guard let child = nextChild(&stack[stack.count - 1]) else {
        try leave(stack.removeLast().entry)
        continue
      }
      guard let entry = examine(child.entry, child.isLast, in: stack[stack.count - 1].entry) else {
        continue
      }
      if entry.isDirectory,
        isRepeated(entry, child.entry, in: stack[stack.count - 1].entry, &misplaced)
      {
        damage.add(entry.path, "this directory is in two places; it is shown in one of them")
        continue
      }
      let isEntered = try visit(entry)
      guard entry.isDirectory && isEntered else { continue }
      guard entry.path.count < Self.pathByteMax else {
        damage.add(entry.path, "what is in it is left out: its path is too long")
        continue
      }
      stack.append(frame(entry))
    }
  }

  private func examine(
    _ child: DirectoryEntry, _ isLast: Bool, in parent: WalkEntry
  ) -> WalkEntry? {
    let path = parent.path + (parent.path.isEmpty ? [] : [UInt8(ascii: "/")]) + child.name
    guard child.isUsable else {
      damage.add(parent.path, "left out: no file can be called \"\(SafeText.text(child.name))\"")
      return nil
    }
    do throws(VolumeError) {
      let attributes = try volume.attributes(child.id)
      return WalkEntry(
        path: path, name: child.name, attributes: attributes, depth: parent.depth + 1,
        isLast: isLast)
    } catch {
      damage.add(path, error.description)
      return nil
    }
  }

  private func isRepeated(
    _ entry: WalkEntry, _ child: DirectoryEntry, in parent: WalkEntry,
    _ misplaced: inout Set<FileID>
  ) -> Bool {
    if misplaced.contains(entry.id) { return true }
    // The root of another subvolume names the subvolume that its name stands in.
    let subvolume =
      entry.id.subvolume == parent.id.subvolume
      ? entry.id.subvolume : entry.inode.parentSubvolume
    let isInPlace =
      subvolume == parent.id.subvolume && entry.inode.directory == parent.inode.number
      && entry.inode.directoryOffset &+ 1 == child.nextOffset
    if !isInPlace { misplaced.insert(entry.id) }
    return false
  }

  // MARK: - Names

  private func frame(_ entry: WalkEntry) -> Frame {
    var frame = Frame(entry: entry, children: [], nextOffset: 0)
    fill(&frame)
    return frame
  }

  private func nextChild(_ frame: inout Frame) -> (entry: DirectoryEntry, isLast: Bool)? {
    if frame.next == frame.children.count { fill(&frame) }
    guard frame.next < frame.children.count else { return nil }
    defer { frame.next += 1 }
    return (frame.children[frame.next], frame.next == frame.children.count - 1)
  }

  private func fill(_ frame: inout Frame) {
    guard let offset = frame.nextOffset else { return }
    frame.nextOffset = nil
    frame.next = 0
    frame.children.removeAll(keepingCapacity: true)
    let path = frame.entry.path
    let damage = self.damage
    do throws(VolumeError) {
      try volume.list(
        frame.entry.id, from: offset,
        onLost: { damage.add(path, "names are missing here: \($0)") }
      ) { (child) throws(VolumeError) in
        frame.children.append(child)
        guard !isSorted, frame.children.count >= Self.batch else { return true }
        frame.nextOffset = child.nextOffset
        return false
      }
    } catch {
      damage.add(path, error.description)
    }
    if isSorted {
      frame.children.sort { $0.name.lexicographicallyPrecedes($1.name) }
    }
  }
}
