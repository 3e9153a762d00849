// SPDX-License-Identifier: GPL-2.0
// What fuzzers start from: superblocks, keys, journal entries and volumes that the driver wrote, as
// they lie in the source tree for the tests.
//
// Keys stand in FormatTests/Golden/keys/NAME.tsv: after a line about the volume a key a line:
// btree, header and value in hexadecimal, text.
// Invariants
//   (1) Volumes are unpacked one at a time, as each takes its memory.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A key that the driver wrote.
struct CorpusKey {
  let btree: BTreeID
  let header: [UInt8]
  let value: [UInt8]
}

/// The files of the tests.
final class Corpus {
  let superblocks: [[UInt8]]
  let keys: [CorpusKey]
  let journalEntries: [[UInt8]]
  /// Golden files, for the image builder to make a volume of.
  let sourcePath: String
  /// More volumes that the driver wrote, where the command line names a folder of them.
  let imagesPath: String?
  private let tree: HostTree
  private var unpackedVolumes: VolumeSamples?

  /// - Parameters:
  ///   - path: The folder Tests.
  ///   - imagesPath: A folder of images.
  init(path: String?, imagesPath: String? = nil) throws(FuzzFailure) {
    self.imagesPath = imagesPath
    let candidates = path.map { [$0] } ?? ["Tests", Corpus.buildTimePath]
    guard let found = candidates.first(where: { Corpus.isThere($0) }),
      let tree = mayFail({ () throws(HostError) in try HostTree(found) })
    else { throw FuzzFailure("no corpus: --corpus names the folder Tests of the source tree") }
    self.tree = tree
    sourcePath = "\(found)/FormatTests/Golden"
    superblocks = try Corpus.files(tree, "FormatTests/Golden/show-super", suffix: ".sb")
    journalEntries = try Corpus.files(tree, "FormatTests/Golden", suffix: ".bin")
    var keys: [CorpusKey] = []
    for file in try Corpus.files(tree, "FormatTests/Golden/keys", suffix: ".tsv") {
      for line in file.split(separator: UInt8(ascii: "\n")).dropFirst() {
        if let key = Corpus.key(line) { keys.append(key) }
      }
    }
    self.keys = keys
    guard !superblocks.isEmpty, !keys.isEmpty, !journalEntries.isEmpty else {
      throw FuzzFailure("the corpus in \(found) is not complete")
    }
  }

  /// Nodes and journal entries of whole volumes; read when first asked for.
  func volumes() throws(FuzzFailure) -> VolumeSamples {
    if let volumes = unpackedVolumes { return volumes }
    let volumes = try VolumeSamples(self)
    unpackedVolumes = volumes
    return volumes
  }

  /// Volumes that the driver wrote, unpacked; one at a time, as each takes its memory.
  func forEachFixture(_ body: ([UInt8]) throws(FuzzFailure) -> Void) throws(FuzzFailure) {
    for packed in try Corpus.files(tree, "Fixtures", suffix: ".img.zst") {
      try body(try Corpus.unpack(packed))
    }
  }

  // MARK: - Images

  /// Volumes by name, each with the files of its devices.
  ///
  /// - Parameter folder: nil: the fixtures.
  func imageNames(
    in folder: String?
  ) throws(FuzzFailure) -> [(name: String, files: [String])] {
    var volumes: [String: [String]] = [:]
    try mustWork("listing images") { () throws(HostError) in
      for entry in try imageDirectory(folder).entries() {
        let file = String(decoding: entry.name, as: UTF8.self)
        guard file.hasSuffix(".img.zst"), let name = file.split(separator: ".").first else {
          continue
        }
        volumes[String(name), default: []].append(file)
      }
    }
    return volumes.sorted { $0.key < $1.key }.map { ($0.key, $0.value.sorted()) }
  }

  /// The bytes of one of these files, unpacked.
  func image(_ file: String, in folder: String?) throws(FuzzFailure) -> [UInt8] {
    let packed = try mustWork("reading \(file)") { () throws(HostError) in
      try Self.contents(of: Array(file.utf8), in: try imageDirectory(folder))
    }
    return try Self.unpack(packed)
  }

  private func imageDirectory(_ folder: String?) throws(HostError) -> HostDirectory {
    if let folder { return try HostTree(folder).directory(at: HostPath("")) }
    return try tree.directory(at: HostPath("Fixtures"))
  }

  /// Beside the sources that this program was built from.
  private static var buildTimePath: String {
    let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return parts.dropLast(4).joined(separator: "/") + "/Tests"
  }

  private static func isThere(_ path: String) -> Bool {
    let found = mayFail { () throws(HostError) in
      try HostTree(path).directory(at: HostPath("FormatTests/Golden"))
    }
    return found != nil
  }

  private static func files(
    _ tree: HostTree, _ folder: String, suffix: String
  ) throws(FuzzFailure) -> [[UInt8]] {
    try mustWork("reading \(folder)") { () throws(HostError) in
      let directory = try tree.directory(at: HostPath(folder))
      var contents: [[UInt8]] = []
      for entry in try directory.entries() {
        guard entry.stat.isRegularFile,
          String(decoding: entry.name, as: UTF8.self).hasSuffix(suffix)
        else { continue }
        contents.append(try Self.contents(of: entry.name, in: directory))
      }
      return contents
    }
  }

  private static func contents(
    of name: [UInt8], in directory: HostDirectory
  ) throws(HostError) -> [UInt8] {
    let file = try directory.file(name)
    var bytes = [UInt8](repeating: 0, count: Int(try file.stat().byteCount))
    var span = bytes.mutableRawBytes
    _ = try file.read(into: &span, atByte: 0)
    return bytes
  }

  private static func key(_ line: ArraySlice<UInt8>) -> CorpusKey? {
    let fields = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
    guard fields.count >= 3 else { return nil }
    let name = String(decoding: fields[0], as: UTF8.self)
    let btree = BTreeID.table.first { "\($0.name)" == name }?.id ?? BTreeID(rawValue: 0)
    let header = bytes(hex: fields[1])
    guard header.count == BKey.Layout.byteCount else { return nil }
    return CorpusKey(btree: btree, header: header, value: bytes(hex: fields[2]))
  }

  private static func bytes(hex: ArraySlice<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    var high: UInt8?
    for digit in hex {
      guard let value = Character(UnicodeScalar(digit)).hexDigitValue else { continue }
      if let first = high {
        result.append(first << 4 | UInt8(value))
        high = nil
      } else {
        high = UInt8(value)
      }
    }
    return result
  }

  /// A Zstandard file of one frame whose header says how long the contents are.
  private static func unpack(_ packed: [UInt8]) throws(FuzzFailure) -> [UInt8] {
    guard let byteCount = contentByteCount(packed), byteCount <= 1 << 28 else {
      throw FuzzFailure("a fixture does not say how long it is")
    }
    // Extents have the frame's length in front.
    var stored = [UInt8](repeating: 0, count: 4)
    stored.put(UInt32(truncatingIfNeeded: packed.count), at: 0)
    stored += packed
    var image = [UInt8](repeating: 0, count: byteCount)
    try mustWork("unpacking a fixture") { () throws(CompressionError) in
      var span = image.mutableRawBytes
      try Decompressor().decompress(stored.rawBytes, into: &span, algorithm: .zstd)
    }
    return image
  }

  /// - Source: RFC 8878, 3.1.1.1: magic, descriptor, window, dictionary, content size.
  private static func contentByteCount(_ frame: [UInt8]) -> Int? {
    guard frame.count >= 18, frame.rawBytes.loadLittleEndian(at: 0, as: UInt32.self) == 0xfd2f_b528
    else { return nil }
    let descriptor = frame[4]
    let isSingleSegment = descriptor & 0x20 != 0
    var at = isSingleSegment ? 5 : 6
    at += [0, 1, 2, 4][Int(descriptor & 3)]
    switch descriptor >> 6 {
    case 0: return isSingleSegment ? Int(frame[at]) : nil
    case 1: return Int(frame.rawBytes.loadLittleEndian(at: at, as: UInt16.self)) + 256
    case 2: return Int(frame.rawBytes.loadLittleEndian(at: at, as: UInt32.self))
    default: return Int(exactly: frame.rawBytes.loadLittleEndian(at: at, as: UInt64.self))
    }
  }
}
