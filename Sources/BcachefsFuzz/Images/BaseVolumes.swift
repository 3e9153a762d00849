// SPDX-License-Identifier: GPL-2.0
// Which volumes there are: built ones of every kind, and images that the driver filled.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// The volumes that mutation starts from.
enum BaseVolumes {
  /// A volume to be built: its name, options as on the command line, and more.
  private struct Kind {
    let name: String
    var options: [String] = []
    var deviceCount = 1
    var isEncrypted = false
  }

  private static let nodeSize = "btree_node_size=4096"

  private static let kinds: [Kind] = [
    Kind(name: "built-small-nodes", options: [nodeSize]),
    Kind(name: "built-large-nodes"),
    Kind(name: "built-lz4", options: [nodeSize, "compression=lz4"]),
    Kind(name: "built-zstd", options: [nodeSize, "compression=zstd", "str_hash=crc64"]),
    Kind(name: "built-gzip", options: [nodeSize, "compression=gzip", "str_hash=crc32c"]),
    Kind(name: "built-encrypted", options: [nodeSize, "compression=lz4"], isEncrypted: true),
    Kind(name: "built-wide-macs", options: [nodeSize, "wide_macs=1"], isEncrypted: true),
    Kind(
      name: "built-replicas", options: [nodeSize, "data_replicas=2", "metadata_replicas=2"],
      deviceCount: 2),
    Kind(
      name: "built-crc64",
      options: [nodeSize, "data_checksum=crc64", "metadata_checksum=crc64", "inline_data=0"]),
    Kind(
      name: "built-xxhash",
      options: [nodeSize, "data_checksum=xxhash", "metadata_checksum=xxhash"]),
    Kind(name: "built-blocks", options: ["block_size=4096", "compression=zstd"]),
    Kind(name: "built-unchecked-data", options: [nodeSize, "data_checksum=none"]),
  ]

  /// Volumes of the image builder, all of the same small folder.
  static func built() throws(FuzzFailure) -> [BaseVolume] {
    let source = try SourceFolder()
    var volumes: [BaseVolume] = []
    for kind in kinds { volumes.append(try BaseVolume(kind.name, try build(kind, source.path))) }
    return volumes
  }

  private static func build(
    _ kind: Kind, _ source: String
  ) throws(FuzzFailure) -> [SimulatedDevice] {
    let byteCount: UInt64 = 16 << 20
    var configuration = SimulatedDevice.Configuration()
    configuration.recordsOperations = false
    var media: [SimulatedDevice] = []
    var opened: [BlockDevice] = []
    for index in 0..<kind.deviceCount {
      configuration.name = "\(kind.name).\(index)"
      let medium = SimulatedDevice(byteCount: byteCount, configuration: configuration)
      media.append(medium)
      opened.append(
        try mustWork("open") { () throws(DeviceError) in
          try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
        })
    }
    var format = VolumeFormat(
      devices: opened.map { device in
        var format = DeviceFormat(name: device.name, byteCount: byteCount)
        format.bucketBytes = 64 << 10
        return format
      })
    for text in kind.options {
      let parts = text.split(separator: "=", maxSplits: 1)
      guard let option = VolumeOption(named: parts[0]) else { throw FuzzFailure("option \(text)") }
      format.options[option] = try mustWork(text) { () throws(OptionError) in
        try option.parse(String(parts[1]))
      }
    }
    if kind.isEncrypted { format.encryption = .withoutPassphrase }
    format.masterKey = EncryptionKey(copying: [UInt8](repeating: 0x5a, count: 32).rawBytes)
    format.superblockBytes = 64 << 10
    format.uuid = UUID(decoding: [UInt8](repeating: 0xf5, count: 16).rawBytes)
    format.timeNanoseconds = 1_700_000_000_000_000_000
    var request = ImageBuildRequest(sourcePath: source, format: format, fitsDevices: false)
    request.isReproducible = true
    var builder = ImageBuilder(request, random: RandomSource(seed: 1))
    do throws(ImageError) {
      _ = try builder.build(on: opened)
    } catch {
      throw FuzzFailure("building \(kind.name): \(error)")
    }
    return media
  }

  /// Volumes in a folder of images (`NAME.img.zst`, or `NAME.0.img.zst` and so on).
  static func stored(
    _ corpus: Corpus, in folder: String?
  ) throws(FuzzFailure) -> [BaseVolume] {
    var volumes: [BaseVolume] = []
    for (name, files) in try corpus.imageNames(in: folder) {
      var devices: [SimulatedDevice] = []
      for file in files {
        var configuration = SimulatedDevice.Configuration()
        configuration.recordsOperations = false
        configuration.name = file
        let image = try corpus.image(file, in: folder)
        let device = SimulatedDevice(
          byteCount: UInt64(image.count), configuration: configuration)
        try fill(device, with: image)
        devices.append(device)
      }
      volumes.append(try BaseVolume(name, devices))
    }
    return volumes
  }

  private static func fill(
    _ medium: SimulatedDevice, with image: [UInt8]
  ) throws(FuzzFailure) {
    try mustWork("filling a device") { () throws(DeviceError) in
      let device = try BlockDevice.open(simulated: medium, mode: .exclusiveReadWrite)
      let bytes = image.rawBytes
      for start in stride(from: 0, to: image.count, by: 4096) {
        let page = bytes.extracting(start..<min(start + 4096, image.count))
        var isZero = true
        for at in stride(from: 0, to: page.byteCount, by: 8)
        where page.loadLittleEndian(at: at, as: UInt64.self) != 0 {
          isZero = false
          break
        }
        if !isZero { try device.write(page, atByte: UInt64(start)) }
      }
      try device.close()
    }
  }
}
