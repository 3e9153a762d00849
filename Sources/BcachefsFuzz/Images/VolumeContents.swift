// SPDX-License-Identifier: GPL-2.0
// What reading a volume gives: every name, attribute and byte, and every problem that was told.
//
// How it works
//   1. The tree is walked from the root, breadth first, each file once a name; of a damaged volume
//      at most `directoryMax` directories. Nothing that fails ends the walk.
//   2. Contents are read up to `contentMax` bytes a file, past damage: ranges that are lost are
//      kept beside them.
//   3. Everything else that can be asked of a volume is asked: keys of all btrees, nodes, usage,
//      subvolumes, the journal, an archive.
// Invariants
//   (1) The walk ends, whatever the volume says.

internal import Bcachefs
internal import BcachefsCommand
internal import BcachefsFormat
internal import BcachefsSupport

/// A file as it was read.
struct ReadFile {
  var attributes: [UInt64]?
  var xattrs: [[UInt8]]?
  var link: [UInt8]?
  /// Its first bytes, and which of them were lost.
  var bytes: [UInt8]?
  var lost: [Range<UInt64>] = []
  /// More of it, read where an error would have been thrown: offset, bytes.
  var pieces: [(offset: UInt64, bytes: [UInt8])] = []
  /// Where it is not a hole; nil where not all of that is known.
  var dataRanges: [Range<UInt64>]?
  /// The names in it; nil for what is no directory.
  var names: [[UInt8]]?
  /// Whether these are all.
  var isListComplete = false
  /// Names in it, or of its attributes, that were listed, and that a lookup did not find.
  var unfound: [[UInt8]] = []
}

/// Everything that was read.
final class VolumeContents {
  static let contentMax = 1 << 17
  private static let directoryMax = 400
  private static let fileMax = 3000
  /// A base may have all that it has.
  private let isBase: Bool
  private static let keyMax = 20_000

  private(set) var files: [[UInt8]: ReadFile] = [:]
  /// What was told, a line each.
  private(set) var problems: [String] = []
  private let volume: Volume
  /// Reading it all takes longer than a case should: one more number decides what is read.
  private var random: Xoshiro256
  private let isThorough: Bool
  private let buffer = HeapBuffer(byteCount: contentMax)

  /// Reads all of a base.
  init(ofBase volume: Volume) {
    self.volume = volume
    random = Xoshiro256(seed: 1)
    isThorough = true
    isBase = true
    walk()
  }

  /// Reads a volume.
  ///
  /// - Parameter thoroughly: All of it, and not a random part.
  init(reading volume: Volume, random: Xoshiro256, thoroughly: Bool) {
    self.volume = volume
    self.random = random
    isThorough = thoroughly
    isBase = false
    walk()
  }

  private func often(_ count: Int) -> Bool { isThorough || random.oneIn(count) }

  private func note(_ error: VolumeError) {
    let text = error.description
    if problems.count < 1000 { problems.append(text) }
  }

  private func trying<Result>(_ body: () throws(VolumeError) -> Result) -> Result? {
    do throws(VolumeError) {
      return try body()
    } catch {
      note(error)
      return nil
    }
  }

  // MARK: - Files

  private func walk() {
    var waiting: [(path: [UInt8], id: FileID)] = [([], volume.root)]
    var seen: Set<FileID> = [volume.root]
    var next = 0
    while next < waiting.count, isBase || next < Self.directoryMax {
      let (path, id) = waiting[next]
      next += 1
      var file = read(id)
      var children: [(name: [UInt8], id: FileID, isDirectory: Bool)] = []
      file.isListComplete = list(id, into: &children, &file.unfound)
      file.names = children.map(\.name)
      files[path] = file
      for child in children where isBase || files.count < Self.fileMax {
        let childPath = path + [UInt8(ascii: "/")] + child.name
        if child.isDirectory {
          if seen.insert(child.id).inserted { waiting.append((childPath, child.id)) }
        } else {
          files[childPath] = read(child.id)
        }
      }
    }
  }

  private func list(
    _ id: FileID, into children: inout [(name: [UInt8], id: FileID, isDirectory: Bool)],
    _ unfound: inout [[UInt8]]
  ) -> Bool {
    let lost = LostCount()
    var found: [DirectoryEntry] = []
    let isDone: ()? = trying { () throws(VolumeError) in
      try volume.list(id, onLost: { lost.add($0) }) { (entry) throws(VolumeError) in
        found.append(entry)
        return isBase || found.count < Self.fileMax
      }
    }
    for error in lost.errors { note(error) }
    for entry in found {
      children.append((entry.name, entry.id, entry.type == 4 || entry.type == 16))
    }
    for entry in found where often(16) {
      do throws(VolumeError) {
        if try volume.lookup(entry.name, in: id) != entry.id { unfound.append(entry.name) }
      } catch {
        note(error)
        if error.code == .notFound { unfound.append(entry.name) }
      }
    }
    return isDone != nil && lost.errors.isEmpty && (isBase || found.count < Self.fileMax)
  }

  private func read(_ id: FileID) -> ReadFile {
    var file = ReadFile()
    guard let attributes = trying({ () throws(VolumeError) in try volume.attributes(id) }) else {
      return file
    }
    let inode = attributes.inode
    file.attributes = [
      UInt64(inode.mode), inode.size, UInt64(inode.uid), UInt64(inode.gid),
      UInt64(attributes.linkCount), UInt64(inode.device), inode.sectors,
      UInt64(bitPattern: attributes.accessTime), UInt64(bitPattern: attributes.modificationTime),
      UInt64(bitPattern: attributes.changeTime), UInt64(bitPattern: attributes.birthTime),
    ]
    file.xattrs = trying { () throws(VolumeError) in
      try volume.xattrs(id).flatMap { [$0.name, $0.value] }
    }
    if let xattrs = file.xattrs, xattrs.count >= 2, often(4) {
      let value = trying { () throws(VolumeError) in try volume.xattr(xattrs[0], of: id) }
      if let value, value != xattrs[1] { file.unfound.append(xattrs[0]) }
    }
    if inode.fileType == 0xa000 {
      file.link = trying { () throws(VolumeError) in try volume.readLink(id) }
    } else if inode.fileType == 0x8000, often(2) {
      readContents(id, inode.size, into: &file)
    }
    return file
  }

  private func readContents(_ id: FileID, _ size: UInt64, into file: inout ReadFile) {
    guard let handle = trying({ () throws(VolumeError) in try volume.open(id) }) else { return }
    let lost = LostCount()
    let buffer = self.buffer
    let count = trying { () throws(VolumeError) in
      var span = buffer.mutableBytes
      return try handle.read(from: 0, into: &span, onLost: { lost.add($0, $1) })
    }
    for error in lost.errors { note(error) }
    file.lost = lost.ranges
    if let count { file.bytes = buffer.bytes.extracting(0..<count).copied() }
    guard often(4) else { return }
    // Without a place for losses, from an odd offset; the last bytes; and where the data is.
    for offset in [random.upTo(size), size - min(size, 5000)] {
      let length = 1 + random.below(6000)
      let count = trying { () throws(VolumeError) in
        var span = buffer.mutableBytes
        var part = span.subrange(0..<length)
        return try handle.read(from: offset, into: &part)
      }
      if let count {
        file.pieces.append((offset, buffer.bytes.extracting(0..<count).copied()))
      }
    }
    let lostRanges = LostCount()
    let ranges = trying { () throws(VolumeError) in
      try handle.dataRanges(limit: 16) { lostRanges.add($0, $1) }
    }
    for error in lostRanges.errors { note(error) }
    if lostRanges.errors.isEmpty { file.dataRanges = ranges }
    var rangeCount = 0
    _ = trying { () throws(VolumeError) in
      try handle.forEachDataRange(from: random.upTo(size)) { (_) throws(VolumeError) in
        rangeCount += 1
        return rangeCount < 10_000
      }
    }
    rangeCount = 0
    _ = trying { () throws(VolumeError) in
      try handle.forEachExtent(from: random.upTo(size), onLost: { lostRanges.add($0, $1) }) {
        (_) throws(VolumeError) in
        rangeCount += 1
        return rangeCount < 10_000
      }
    }
  }

  // MARK: - Everything else

  /// Asks all else that can be asked; whether it fails does not matter.
  func examineRest() throws(FuzzFailure) {
    let context = volume.keyContext
    for btree in volume.btrees where often(3) {
      var count = 0
      _ = trying { () throws(VolumeError) in
        try volume.forEachKey(of: btree) { (key, value) throws(VolumeError) in
          count += 1
          if count < 200 { _ = BKeyValue.text(key: key, value: value, context: context) }
          return count < Self.keyMax
        }
      }
      guard often(3), let level = volume.rootLevel(of: btree) else { continue }
      for level in 0...level {
        _ = trying { () throws(VolumeError) in
          try volume.forEachNode(of: btree, level: level) { (_) throws(VolumeError) in }
        }
        _ = trying { () throws(VolumeError) in
          try volume.forEachNodeOnDisk(of: btree, level: level) { (_) throws(VolumeError) in }
        }
      }
    }
    if often(3) {
      var options = CheckOptions()
      options.memoryBytes = random.oneIn(2) ? 0 : 1 << 20
      options.comparesFileCounters = random.oneIn(2)
      let chosen = options
      _ = trying { () throws(VolumeError) in try volume.check(chosen) }
    }
    if often(2) {
      let texts = trying { () throws(VolumeError) in try QuietRead.texts(of: volume) }
      for text in texts ?? [] { try checkText(text, "the text of a command") }
    }
    if often(3) {
      // Names in keys are as they are: it is the terminal's output that makes them harmless.
      _ = trying { () throws(VolumeError) in
        try QuietRead.journalTexts(of: try volume.journal(), limit: 50)
      }
    }
    if often(3) { _ = QuietRead.export(volume, upTo: 32 << 20) }
    if often(3) {
      for path in ["far", "link", "/many/../deep/./d/here", "deep/d/d/d/none"] {
        _ = mayFail { () throws(VolumeError) in
          try volume.resolve(Array(path.utf8), followsLast: true)
        }
      }
    }
  }
}

/// What was lost, from closures that outlive the call.
private final class LostCount {
  private(set) var ranges: [Range<UInt64>] = []
  private(set) var errors: [VolumeError] = []

  func add(_ error: VolumeError) { if errors.count < 100 { errors.append(error) } }

  func add(_ range: Range<UInt64>, _ error: VolumeError) {
    ranges.append(range)
    add(error)
  }
}
