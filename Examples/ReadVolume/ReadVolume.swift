// SPDX-License-Identifier: GPL-2.0
// An example: what a program does that reads bcachefs volumes. The article "Read a volume" quotes
// it, and the tests run it: swift run ReadVolume IMAGE[:IMAGE...] [PATH]

import Bcachefs
import BcachefsFormat
import BcachefsSupport

#if canImport(Glibc)
import Glibc
#endif

@main struct ReadVolume {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    guard let name = arguments.first else {
      print("usage: ReadVolume IMAGE[:IMAGE...] [PATH]")
      exit(64)
    }
    do throws(VolumeError) {
      let volume = try open(name, passphraseFile: nil)
      try show(volume, path: arguments.dropFirst().first ?? "")
    } catch {
      print(advice(error))
      exit(1)
    }
  }

  static func open(_ name: String, passphraseFile: String?) throws(VolumeError) -> Volume {
    let sources = try VolumeSources(parsing: name)
    let unlock = UnlockSource(passphraseFile: passphraseFile)
    let volume = try Volume.open(sources, unlock: unlock)
    for warning in volume.warnings { print("warning: \(warning)") }
    return volume
  }

  static func show(_ volume: Volume, path: String) throws(VolumeError) {
    let id = try volume.resolve(path)
    switch try volume.attributes(id).kind {
    case .directory: try list(volume, id)
    case .regular: try showFile(volume, id)
    default: print("neither a directory nor a file")
    }
    try showVolume(volume)
    for line in volume.damage { print("read from another copy: \(line)") }
  }

  static func list(_ volume: Volume, _ directory: FileID) throws(VolumeError) {
    for entry in try volume.entries(of: directory) {
      let attributes = try volume.attributes(entry.id)
      print(entry.text, attributes.byteCount, attributes.modificationTime)
    }
  }

  static func showFile(_ volume: Volume, _ id: FileID) throws(VolumeError) {
    let text = String(decoding: try volume.contents(of: id, maxByteCount: 1 << 30), as: UTF8.self)
    print("it begins with: \(text.prefix(20))")
    print("bytes read in pieces: \(try countBytes(volume, id))")
    for (name, value) in try volume.xattrs(id) {
      print("attribute \(String(decoding: name, as: UTF8.self)) of \(value.count) bytes")
    }
    try map(volume, id)
  }

  static func countBytes(_ volume: Volume, _ id: FileID) throws(VolumeError) -> UInt64 {
    let file = try volume.open(id)
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var offset: UInt64 = 0
    while true {
      var target = buffer.mutableRawBytes
      let count = try file.read(from: offset, into: &target) { range, error in
        print("bytes \(range) are lost: \(error)")
      }
      guard count > 0 else { return offset }
      offset += UInt64(count)
    }
  }

  static func map(_ volume: Volume, _ id: FileID) throws(VolumeError) {
    try volume.open(id).forEachExtent { (extent) throws(VolumeError) in
      print("bytes \(extent.range): \(extent.kind)")
      for copy in extent.copies {
        print("  device \(copy.device), sector \(copy.sector), \(copy.checksumType)")
      }
      return true
    }
  }

  static func showVolume(_ volume: Volume) throws(VolumeError) {
    let usage = try volume.usage()
    print("\(usage.usedSectors) of \(usage.capacitySectors) sectors used")
    for subvolume in try volume.subvolumes() {
      let path = subvolume.path.map { String(decoding: $0, as: UTF8.self) } ?? "unreachable"
      print("subvolume \(subvolume.id) at /\(path)")
    }
    for snapshot in try volume.snapshotTree() {
      print("snapshot \(snapshot.id), parent \(snapshot.snapshot.parent)")
    }
  }

  static func advice(_ error: VolumeError) -> String {
    switch error.code {
    case .locked: "\(error)\nname a file with the passphrase"
    case .missingMembers: "\(error)\nname all devices, or open it with the option degraded"
    case .notFound, .notADirectory: "\(error)"
    default: "cannot be read: \(error)"
    }
  }
}
