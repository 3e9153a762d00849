// SPDX-License-Identifier: GPL-2.0
// Volumes with empty files whose contents tests write.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

enum ContentVolume {
  /// Volumes that store data in all ways.
  static let all: [FreshVolume] = [
    FreshVolume(testDescription: "plain"),
    FreshVolume(testDescription: "lz4, blocks of 4 KiB") {
      $0.build.options[.compression] = 1
      $0.build.options[.blockSize] = 4096
    },
    FreshVolume(testDescription: "zstd, crc64") {
      $0.build.options[.compression] = 3
      $0.build.options[.dataChecksum] = 2
    },
    FreshVolume(testDescription: "no checksums, no inline data") {
      $0.build.options[.dataChecksum] = 0
      $0.build.options[.inlineData] = 0
    },
    FreshVolume(testDescription: "nocow") { $0.build.options[.nocow] = 1 },
    FreshVolume(testDescription: "encrypted, gzip") {
      $0.build.encryption = .passphrase(Array("secret".utf8))
      $0.passphrase = "secret"
      $0.build.options[.compression] = 2
    },
    FreshVolume(testDescription: "two replicas, xxhash, background zstd") {
      $0.sizes = [64 << 20, 64 << 20, 64 << 20]
      $0.build.options[.dataReplicas] = 2
      $0.build.options[.metadataReplicas] = 2
      $0.build.options[.dataChecksum] = 3
      $0.build.options[.backgroundCompression] = 3
    },
  ]

  /// Makes an empty file in the root directory.
  static func makeFile(_ name: String, _ number: UInt64, in engine: Engine) throws -> FileID {
    try engine.run("test_create") { (transaction) throws(TransactionError) in
      let position = BPos(0, Positions.rootInode, .max)
      guard let found = try transaction.lookup(.inodes, position) else { return }
      let root = try Transaction.inode(found)
      let name = Array(name.utf8)
      var file = Inode()
      file.number = number
      file.stringHash = root.stringHash
      file.hashSeed = number
      file.mode = 0o100644
      file.directory = root.number
      file.directoryOffset = NameHash(root).dirent(name.span)
      transaction.put(file, .max)
      var failure: FormatError?
      transaction.put(
        .dirents, .dirent,
        Positions.dirent(directory: root.number, hash: file.directoryOffset, snapshot: .max),
        Dirent.encodedU64s(nameByteCount: name.count)
      ) { value in
        do throws(FormatError) {
          _ = try Dirent.encode(
            target: .inode(number), type: 8, name: name.rawBytes, into: &value)
        } catch {
          failure = error
        }
      }
      if let failure { throw .failed(VolumeError(failure)) }
      try transaction.commit()
    }
    return FileID(subvolume: 1, inode: number)
  }
}

extension FileContents {
  /// All of it, as a reader sees it.
  func everything() throws -> [UInt8] { try bytes(0..<shown.size) }

  func bytes(_ range: Range<UInt64>) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: range.count)
    var span = bytes.mutableRawBytes
    let count = try read(from: range.lowerBound, into: &span)
    return Array(bytes.prefix(count))
  }

  func write(_ bytes: [UInt8], at offset: UInt64) throws {
    try write(bytes.rawBytes, at: offset)
  }
}

extension Volume {
  /// All contents of a file.
  func allBytes(of file: FileID) throws -> [UInt8] {
    let handle = try open(file)
    var bytes = [UInt8](repeating: 0xee, count: Int(try inode(file).size))
    var span = bytes.mutableRawBytes
    _ = try handle.read(from: 0, into: &span)
    return bytes
  }
}
