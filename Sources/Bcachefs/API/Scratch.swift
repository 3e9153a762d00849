internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
extension Volume {
  public static func scratchOpen(_ paths: [String], _ pass: String?) throws(VolumeError) -> Volume {
    var devs: [BlockDevice] = []
    var sb: Superblock?
    for p in paths {
      let d: BlockDevice
      let b = HeapBuffer(byteCount: 1 << 20)
      do throws(DeviceError) { d = try BlockDevice.open(path: p, mode: .readOnly)
        devs.append(d)
        var m = b.mutableBytes
        try d.read(into: &m, atByte: 4096)
      } catch { throw VolumeError(error) }
      do throws(FormatError) { sb = try Superblock(decoding: b.bytes) } catch { throw VolumeError(error) }
    }
    var key: EncryptionKey?
    if let c = sb!.section(of: CryptSection.self) {
      do throws(EncryptionError) {
        let w = try pass.map { (t) throws(EncryptionError) in let a = Array(t.utf8); return try EncryptionKey(passphrase: a.rawBytes, costs: c.costs) }
        key = try c.storedKey.open(with: w, superblockMagic: sb!.uuid.lo)
      } catch { throw VolumeError(error) }
    }
    return try Volume(media: VolumeMedia(superblock: sb!, devices: devs, key: key, options: VolumeOptions(), warnings: []))
  }
}
