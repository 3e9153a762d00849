// SPDX-License-Identifier: GPL-2.0
// Fills a volume to its last sector by one kind of operation at a time, and empties it.
//
// How it works
//   1. `step` does one thing of a kind below the filler's own directory; `fill` does so until there
//      is no space.
//   2. `empty` removes all of it: names, subvolumes, and files that are only held.
// Invariants
//   (1) A seed repeats a run, on one thread.

public import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

public struct FullVolumeFiller {
  /// What a volume is filled by.
  public enum Kind: CaseIterable, Sendable {
    case largeWrites, smallWrites, compressibleWrites, inlineFiles
    case files, directories, symbolicLinks, hardLinks, heldFiles
    case xattrs, longXattrs, renames
    case allocatedRanges, zeroedRanges, insertedRanges, holes
    case snapshots, subvolumes, snapshotsOfSnapshots
    case copies, overwrittenCopies, overwrites
  }

  private let files: FileSystem
  private let top: FileID
  private let replicas: UInt64
  private var random: SplitMix64
  private var number = 0
  /// The file, or directory, that steps work on, and where in it they are.
  private var current: FileID?
  private var end: UInt64 = 0
  private var held: [FileID] = []
  private var doing: Kind?
  private var steps = 0

  /// - Parameters:
  ///   - top: An empty directory that nobody else changes.
  ///   - replicas: Of data.
  public init(_ files: FileSystem, top: FileID, replicas: UInt64, seed: UInt64) {
    self.files = files
    self.top = top
    self.replicas = max(replicas, 1)
    random = SplitMix64(seed: seed)
  }

  private mutating func below(_ limit: Int) -> Int {
    Int(truncatingIfNeeded: random.next() % UInt64(limit))
  }

  private mutating func name(_ length: Int = 0) -> [UInt8] {
    number += 1
    let name = Array("n\(number)".utf8)
    return name + [UInt8](repeating: 0x78, count: max(length - name.count, 0))
  }

  private func make(
    _ kind: FileKind, _ name: [UInt8], in parent: FileID
  ) throws(VolumeError) -> FileID {
    try files.create(name, in: parent, FileCreation(kind, permissions: 0o755)).id
  }

  /// The file that steps work on; a new one where there is none.
  private mutating func file() throws(VolumeError) -> FileID {
    if let current { return current }
    let made = try make(.regular, name(), in: top)
    (current, end) = (made, 0)
    return made
  }

  private mutating func write(
    _ count: Int, to file: FileID, at offset: UInt64, isNoise: Bool = true
  ) throws(VolumeError) {
    let buffer = HeapBuffer(byteCount: (count + 7) / 8 * 8)
    let seed = random.next()
    var noise = SplitMix64(seed: seed)
    var bytes = buffer.mutableBytes
    for word in 0..<(count + 7) / 8 {
      bytes[LEField<UInt64>(word * 8)] = isNoise ? noise.next() : seed ^ UInt64(word / 61)
    }
    try files.write(file, buffer.bytes.extracting(first: count), at: offset)
  }

  private mutating func append(_ count: Int, isNoise: Bool = true) throws(VolumeError) {
    let file = try file()
    try write(count, to: file, at: end, isNoise: isNoise)
    end += UInt64(count)
    if end > 1 << 20 { current = nil }
  }

  /// What it was doing last, for failures.
  public var stateText: String { "\(doing.map { "\($0)" } ?? "emptying"), step \(steps)" }

  // MARK: - Filling

  /// Does something until there is no space, or so often.
  ///
  /// - Returns: how often it was done; nil where there was space to the end.
  /// - Throws: whatever else it fails with.
  public mutating func fill(_ kind: Kind, limit: Int = 1 << 20) throws(VolumeError) -> Int? {
    current = nil
    for count in 0..<limit {
      do throws(VolumeError) { try step(kind) } catch {
        guard error.code == .noSpace else { throw error }
        return count
      }
    }
    return nil
  }

  /// Leaves so many bytes, about, to be filled by something else.
  ///
  /// - Returns: False where less is left: the last of it is not always on the devices that want it.
  public mutating func leave(bytes: UInt64) throws(VolumeError) -> Bool {
    current = nil
    defer { current = nil }
    while files.availableBytes > bytes + 64 << 10 {
      let rest = (files.availableBytes - bytes) / replicas
      do throws(VolumeError) { try append(min(128 << 10, Int(rest / 4096 + 1) * 4096)) } catch {
        guard error.code == .noSpace else { throw error }
        return false
      }
    }
    return true
  }

  /// Does one thing.
  public mutating func step(_ kind: Kind) throws(VolumeError) {
    (doing, steps) = (kind, steps + 1)
    switch kind {
    case .largeWrites: try append(1 + below(256 << 10))
    case .smallWrites: try append(1 + below(5000))
    case .compressibleWrites: try append(128 << 10, isNoise: false)
    case .inlineFiles:
      let file = try make(.regular, name(), in: top)
      try write(1 + below(900), to: file, at: 0)
      try files.fsync(file)
    case .files, .directories, .symbolicLinks, .hardLinks, .heldFiles, .renames:
      try makeName(kind)
    case .xattrs, .longXattrs: try setXattr(isLong: kind == .longXattrs)
    case .allocatedRanges, .zeroedRanges, .insertedRanges, .holes: try changeRange(kind)
    case .snapshots, .subvolumes, .snapshotsOfSnapshots: try makeSubvolume(kind)
    case .copies, .overwrittenCopies: try copy(isOverwritten: kind == .overwrittenCopies)
    case .overwrites:
      // As who has mapped a file: blocks anywhere in it, some of them for the first time.
      let file = try file()
      try write(4096, to: file, at: UInt64(below(4096)) << 12)
    }
  }

  private mutating func makeName(_ kind: Kind) throws(VolumeError) {
    switch kind {
    case .files:
      let kinds: [FileKind] = [.regular, .regular, .fifo, .socket]
      _ = try make(kinds[below(4)], name(below(3) == 0 ? 200 : 0), in: top)
    case .directories:
      let made = try make(.directory, name(), in: current ?? top)
      current = below(20) == 0 ? nil : made
    case .symbolicLinks:
      let target = [UInt8](repeating: 0x79, count: 1 + below(below(3) == 0 ? 4000 : 200))
      _ = try files.makeLink(name(), to: target, in: top)
    case .hardLinks: _ = try files.link(file(), as: name(100), in: top)
    case .heldFiles:
      let made = try files.createUnnamed(in: top, FileCreation(.regular, permissions: 0o600))
      held.append(made.id)
      try write(1 + below(9000), to: made.id, at: 0)
    default:
      // Names get longer until they take all there is; each rename also leaves a whiteout.
      let short = name()
      _ = try make(.regular, short, in: top)
      try files.rename(short, in: top, to: name(150 + below(100)), in: top, .whiteout)
    }
  }

  private mutating func setXattr(isLong: Bool) throws(VolumeError) {
    let file = try file()
    let value = [UInt8](repeating: 0x7a, count: isLong ? 1000 + below(700) : below(50))
    try files.setXattr(Array("user.".utf8) + name(), of: file, to: value)
    if below(40) == 0 { current = nil }
  }

  private mutating func changeRange(_ kind: Kind) throws(VolumeError) {
    let file = try file()
    let block = UInt64(files.blockBytes)
    switch kind {
    case .allocatedRanges:
      let count = UInt64(1 + below(100_000))
      try files.change(file, end..<end + count, .allocate, keepsSize: below(2) == 0)
      end += count + UInt64(below(9000))
    case .zeroedRanges:
      let count = UInt64(1 + below(100_000))
      if below(2) == 0 { try write(5000, to: file, at: end) }
      try files.change(file, end..<end + count, .zero, keepsSize: below(2) == 0)
      end += count
    case .insertedRanges:
      if end == 0 {
        try write(40_000, to: file, at: 0)
        end = 40_000
      }
      let at = UInt64(below(8)) * block
      try files.change(file, at..<at + 4 * block, .insert)
      try write(Int(4 * block), to: file, at: at)
      end += 4 * block
    default:
      if end == 0 {
        try files.truncate(file, to: 1 << 30)
        end = 1 << 30
      }
      try write(1 + below(6000), to: file, at: UInt64(below(1 << 30)))
    }
  }

  private mutating func makeSubvolume(_ kind: Kind) throws(VolumeError) {
    let creation = FileCreation(.directory, permissions: 0o755)
    switch kind {
    case .subvolumes:
      let root = try files.createSubvolume(name(), in: top, creation).id
      try write(1 + below(4000), to: make(.regular, name(), in: root), at: 0)
    case .snapshots:
      // One that all are taken of, and changed after each.
      if current == nil { current = try files.createSubvolume(name(), in: top, creation).id }
      guard let source = current else { return }
      try write(1 + below(20_000), to: make(.regular, name(), in: source), at: 0)
      if below(2) == 0, let one = try files.entries(of: source, limit: 1).first {
        try write(1 + below(9000), to: one.id, at: UInt64(below(9000)))
      }
      _ = try files.createSnapshot(
        of: source.subvolume, as: name(), in: top, isReadOnly: below(2) == 0)
    default:
      // Each of the one before.
      if current == nil { current = try files.createSubvolume(name(), in: top, creation).id }
      guard let source = current else { return }
      try write(1 + below(20_000), to: make(.regular, name(), in: source), at: 0)
      current = try files.createSnapshot(of: source.subvolume, as: name(), in: top).id
    }
  }

  private mutating func copy(isOverwritten: Bool) throws(VolumeError) {
    if current == nil {
      let source = try file()
      for part in 0..<8 { try write(8192, to: source, at: UInt64(part) * 16384) }
      end = 8 * 16384
    }
    let source = try file()
    let copy = try make(.regular, name(), in: top)
    _ = try files.copyRange(from: source, 0..<end, to: copy, at: 0)
    guard isOverwritten else { return }
    try write(1 + below(5000), to: copy, at: UInt64(below(Int(end))))
    try write(1 + below(5000), to: source, at: UInt64(below(Int(end))))
  }

  // MARK: - Emptying

  /// Removes everything, also where not a sector is free.
  ///
  /// - Throws: what removing throws; it should not.
  public mutating func empty() throws(VolumeError) {
    (current, doing) = (nil, nil)
    for id in held {
      if below(2) == 0 { try files.truncate(id, to: UInt64(below(5000))) }
      try files.letGo(id)
    }
    held = []
    try empty(top)
    try files.cleanSnapshots()
    try files.sync()
  }

  private mutating func empty(_ directory: FileID) throws(VolumeError) {
    // No recursion: directories can be very deep.
    var directories = [(id: directory, name: [UInt8](), parent: directory)]
    while let last = directories.last {
      let entries = try files.entries(of: last.id)
      if entries.isEmpty {
        directories.removeLast()
        if !directories.isEmpty { try files.removeDirectory(last.name, in: last.parent) }
      }
      for entry in entries {
        if entry.id.subvolume != last.id.subvolume {
          try files.deleteSubvolume(entry.name, in: last.id)
        } else if try files.attributes(of: entry.id).kind == .directory {
          directories.append((entry.id, entry.name, last.id))
          break
        } else {
          try files.unlink(entry.name, in: last.id)
        }
      }
    }
  }
}
