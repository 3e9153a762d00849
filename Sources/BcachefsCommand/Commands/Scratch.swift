internal import ArgumentParser
internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct ScratchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "scratch")
  @Option var passphrase: String?
  @Argument var files: [String]
  func run() throws {
    let volume = try Volume.scratchOpen(files, passphrase)
    var total = 0
    func walk(_ id: FileID, _ path: String) throws {
      var children: [DirectoryEntry] = []
      try volume.list(id) { (e) throws(VolumeError) in children.append(e); return true }
      for e in children.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }) {
        let p = path + "/" + String(decoding: e.name, as: UTF8.self)
        let a = try volume.attributes(e.id)
        if a.inode.isDirectory { try walk(e.id, p); continue }
        var crc: UInt32 = 0
        if a.inode.fileType == 0x8000 && a.byteCount < 1 << 30 {
          let h = try volume.open(e.id)
          let b = HeapBuffer(byteCount: 1 << 20)
          var o: UInt64 = 0
          while true {
            var m = b.mutableBytes
            let n = try h.read(from: o, into: &m)
            if n == 0 { break }
            crc = CRC32C.update(crc, b.bytes.extracting(0..<n))
            o += UInt64(n)
            total += n
          }
        }
        print(p, a.mode, a.byteCount, a.linkCount, a.modificationTime, crc)
      }
    }
    try walk(volume.root, "")
    print("total", total, volume.damage)
  }
}
