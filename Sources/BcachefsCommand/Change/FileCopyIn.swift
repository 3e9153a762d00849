// SPDX-License-Identifier: GPL-2.0
// Copies single files of the host into a volume.
//
// Invariants
//   (1) Holes stay holes: only ranges with data are read and written.
//   (2) What was read is what was listed: the file's state is compared at the end.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// Files of the host that have several names, and what became of them. It belongs to one thread.
final class HostLinks {
  private struct Key: Hashable {
    let device: UInt64
    let inode: UInt64
  }

  private var files: [Key: FileID] = [:]

  /// A file was copied.
  func note(_ stat: HostStat, _ id: FileID) {
    guard stat.linkCount > 1 else { return }
    files[Key(device: stat.device, inode: stat.inode)] = id
  }

  /// Gives the copy of a file one more name, if there is one.
  ///
  /// - Parameter replaces: Whether something else may have the name.
  /// - Returns: false where the file has to be copied: for the first time, or because the copy is
  ///   gone again, or because it has other options than the directory asks for.
  func link(
    _ stat: HostStat, as name: [UInt8], in parent: FileID, of system: FileSystem,
    replaces: Bool = false
  ) throws(VolumeError) -> Bool {
    guard let id = files[Key(device: stat.device, inode: stat.inode)] else { return false }
    do throws(VolumeError) {
      _ =
        try replaces
        ? system.replace(name, in: parent, with: id)
        : system.link(id, as: name, in: parent)
      return true
    } catch {
      guard error.code == .notFound || error.code == .crossSubvolume else { throw error }
      return false
    }
  }
}

/// Makes copies; any thread may use it.
struct FileCopyIn: Sendable {
  let system: FileSystem

  /// Where a copy goes.
  enum Target {
    /// A new name in a directory that nobody looks into yet.
    case name([UInt8], in: FileID)
    /// A name that something else may have, and that the file only gets when it is whole.
    case replacing(VolumePlace)
  }

  /// Copies a file of any kind but a directory.
  ///
  /// - Returns: it, and how many bytes were written.
  func copy(
    _ name: [UInt8], _ stat: HostStat, from source: HostDirectory, to target: Target,
    buffer: HeapBuffer
  ) throws(CommandFailure) -> (id: FileID, written: UInt64) {
    let path = source.wholePath(of: name)
    var linkTarget: [UInt8]?
    if stat.kind == .symbolicLink {
      linkTarget = try TreePut.reading { () throws(HostError) in try source.readLink(name) }
    }
    guard let kind = stat.kind.flatMap({ FileKind(rawValue: UInt16($0.rawValue)) }) else {
      throw CommandFailure(.badData, "\(SafeText.text(path)): its mode has no type")
    }
    let creation = NewAttributes(stat, []).creation(
      kind, major: stat.deviceMajor, minor: stat.deviceMinor)
    switch target {
    case .name(let name, let parent):
      let id = try TreePut.making(path) { () throws(VolumeError) in
        guard let linkTarget else { return try system.create(name, in: parent, creation).id }
        return try system.makeLink(name, to: linkTarget, in: parent, creation).id
      }
      return (id, try fill(id, name, stat, from: source, clearsLists: false, buffer: buffer))
    case .replacing(let place):
      let parent = place.parent
      let (id, clearsLists) = try TreePut.making(path) { () throws(VolumeError) in
        let clearsLists = try system.hasDefaultList(parent)
        guard let linkTarget else {
          return (try system.createUnnamed(in: parent, creation).id, clearsLists)
        }
        return (
          try system.makeUnnamedLink(to: linkTarget, in: parent, creation).id, clearsLists
        )
      }
      let written: UInt64
      do throws(CommandFailure) {
        written = try fill(
          id, name, stat, from: source, clearsLists: clearsLists, buffer: buffer)
      } catch {
        try TreePut.making(path) { () throws(VolumeError) in try system.letGo(id) }
        throw error
      }
      try TreePut.making(place.path) { () throws(VolumeError) in
        try system.giveName(place.name, in: parent, to: id, replaces: true)
      }
      return (id, written)
    }
  }

  /// Gives a new file the contents and attributes of one of the host.
  ///
  /// - Returns: bytes written.
  func fill(
    _ id: FileID, _ name: [UInt8], _ stat: HostStat, from source: HostDirectory, clearsLists: Bool,
    buffer: HeapBuffer
  ) throws(CommandFailure) -> UInt64 {
    let path = source.wholePath(of: name)
    var written: UInt64 = 0
    let xattrs: [HostXattr]
    if stat.isRegularFile {
      let file = try TreePut.reading { () throws(HostError) in try source.file(name) }
      written = try fill(id, path, stat, from: file, buffer)
      xattrs = try TreePut.reading { () throws(HostError) in
        let xattrs = try file.xattrs()
        try file.verifyUnchanged(since: stat)
        return xattrs
      }
    } else {
      xattrs = try TreePut.reading { () throws(HostError) in try source.xattrs(of: name) }
    }
    try TreePut.making(path) { () throws(VolumeError) in
      try NewAttributes(stat, xattrs).give(
        to: id, of: system, isDirectory: false,
        clearsLists: clearsLists && stat.kind != .symbolicLink)
    }
    return written
  }

  private func fill(
    _ id: FileID, _ path: [UInt8], _ stat: HostStat, from file: HostFile, _ buffer: HeapBuffer
  ) throws(CommandFailure) -> UInt64 {
    var (offset, written) = (UInt64(0), UInt64(0))
    while offset < stat.byteCount {
      var range = offset..<stat.byteCount
      if stat.mayHaveHoles {
        let found = try TreePut.reading { () throws(HostError) in
          try file.dataRange(from: offset)
        }
        guard let found, found.lowerBound < stat.byteCount else { break }
        range = found.clamped(to: range)
      }
      written += UInt64(range.count)
      try fill(id, path, range, from: file, buffer)
      offset = range.upperBound
    }
    try TreePut.making(path) { () throws(VolumeError) in
      if offset < stat.byteCount { try system.truncate(id, to: stat.byteCount) }
      try system.writeOut(id)
    }
    return written
  }

  private func fill(
    _ id: FileID, _ path: [UInt8], _ range: Range<UInt64>, from file: HostFile,
    _ buffer: HeapBuffer
  ) throws(CommandFailure) {
    var offset = range.lowerBound
    while offset < range.upperBound {
      try ChangeReport.checkInterruption()
      let count = Int(min(UInt64(buffer.byteCount), range.upperBound - offset))
      let read = try TreePut.reading { () throws(HostError) in
        var all = buffer.mutableBytes
        var target = all.subrange(0..<count)
        return try file.read(into: &target, atByte: offset)
      }
      // A file that became shorter is told by the comparison of its state.
      guard read > 0 else { return }
      try TreePut.making(path) { () throws(VolumeError) in
        try system.write(
          id, buffer.bytes.extracting(0..<read), at: offset, keepsTimes: true)
      }
      offset += UInt64(read)
    }
  }
}
