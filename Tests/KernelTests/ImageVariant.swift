// SPDX-License-Identifier: GPL-2.0
// Volumes to build for the driver to judge: options, devices, sizes.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

/// One way to build a volume.
struct ImageVariant: Sendable, CustomTestStringConvertible {
  struct Device: Sendable {
    var label: String?
    var durability: UInt8 = 1
    var bucketBytes: UInt64?
    var dataAllowed: PersistentMask<DataType> = [.journal, .btree, .user]
  }

  let name: String
  /// As on the command line: `compression=zstd:15`.
  var options: [String] = []
  var devices = [Device()]
  var targets: [VolumeOption: String] = [:]
  /// Of each device; nil: as large as it has to be.
  var sizeBytes: UInt64?
  var passphrase: String?
  /// Whether Linux changes the volume too where time is short; always in the long run, unless it
  /// cannot.
  var change = Change.longOnly

  enum Change: Sendable {
    case always
    case longOnly
    case never
  }

  var testDescription: String { name }

  init(_ name: String) { self.name = name }

  /// A variant of one option, named after it.
  init(option: String, change: Change = .longOnly) {
    name = option
    options = [option]
    self.change = change
  }

  /// A variant with buckets of `bucketBytes`.
  init(bucketKiB: UInt64) {
    name = "buckets of \(bucketKiB) KiB"
    devices = [Device(bucketBytes: bucketKiB << 10)]
  }

  func with(_ change: (inout ImageVariant) -> Void) -> ImageVariant {
    var result = self
    change(&result)
    return result
  }

  // MARK: - Building

  func format(files: [String]) throws -> VolumeFormat {
    var format = VolumeFormat(
      devices: zip(files, devices).map { file, device in
        var result = DeviceFormat(name: file, byteCount: sizeBytes ?? 0)
        result.bucketBytes = device.bucketBytes
        result.label = device.label
        result.durability = device.durability
        result.dataAllowed = device.dataAllowed
        return result
      })
    for text in options {
      let parts = text.split(separator: "=", maxSplits: 1)
      let option = try #require(VolumeOption(named: parts[0]), "\(text)")
      format.options[option] = try option.parse(String(parts[1]))
    }
    format.targets = targets
    format.timeNanoseconds = 1_700_000_000_000_000_000
    if let passphrase { format.encryption = .passphrase(Array(passphrase.utf8)) }
    return format
  }

  /// Builds the volume in `folder`.
  ///
  /// - Returns: the images, in the devices' order.
  func build(_ tree: SourceTree, in folder: String) throws -> [String] {
    let files = devices.indices.map { "\(folder)/volume.\($0).img" }
    let format = try format(files: files)
    let request = ImageBuildRequest(
      sourcePath: tree.path, format: format, fitsDevices: sizeBytes == nil)
    var builder = ImageBuilder(request, random: RandomSource(seed: 1))
    let opened = try files.map {
      try BlockDevice.create(path: $0, byteCount: sizeBytes ?? 1 << 40)
    }
    _ = try builder.build(on: opened)
    for device in opened { try device.close() }
    return files
  }
}

// MARK: - All of them

extension ImageVariant {
  private static let crossed: [ImageVariant] = [
    ImageVariant("defaults").with { $0.change = .always },
    ImageVariant("encrypted").with {
      $0.passphrase = "correct horse"
      $0.change = .always
    },
    ImageVariant("encrypted, wide MACs, lz4").with {
      $0.passphrase = "battery staple"
      $0.options = ["wide_macs=1", "compression=lz4"]
    },
    ImageVariant("encrypted, not copied on write").with {
      $0.passphrase = "correct horse"
      $0.options = ["nocow=1"]
      $0.change = .never
    },
    ImageVariant("compressed without checksums").with {
      $0.options = ["data_checksum=none", "compression=lz4"]
    },
    ImageVariant("chunks as large as buckets, lz4").with {
      $0.options = ["encoded_extent_max=128k", "compression=lz4"]
      $0.devices = [Device(bucketBytes: 128 << 10)]
    },
    ImageVariant("blocks of 4 KiB, zstd").with {
      $0.options = ["block_size=4096", "compression=zstd"]
    },
  ]

  private static let several: [ImageVariant] = [
    ImageVariant("two devices").with { $0.devices = [Device(), Device()] },
    ImageVariant("two devices, two replicas").with {
      $0.devices = [Device(), Device()]
      $0.options = ["data_replicas=2", "metadata_replicas=2"]
      $0.change = .always
    },
    ImageVariant("two devices of different buckets, zstd").with {
      $0.devices = [Device(bucketBytes: 128 << 10), Device(bucketBytes: 512 << 10)]
      $0.options = ["data_replicas=2", "metadata_replicas=2", "compression=zstd"]
    },
    ImageVariant("three replicas").with {
      $0.devices = [Device(), Device(), Device()]
      $0.options = ["data_replicas=3", "metadata_replicas=3"]
    },
    ImageVariant("labels, targets, durability").with {
      $0.devices = [
        Device(label: "ssd.fast"), Device(label: "ssd.slow"), Device(label: "hdd", durability: 2),
      ]
      $0.options = ["data_replicas=2", "metadata_replicas=2"]
      $0.targets = [
        .metadataTarget: "ssd", .foregroundTarget: "ssd", .backgroundTarget: "hdd",
        .promoteTarget: "ssd.fast",
      ]
      $0.change = .always
    },
    ImageVariant("a device that is a cache").with {
      $0.devices = [Device(label: "cache", durability: 0), Device(label: "hdd")]
      $0.targets = [.promoteTarget: "cache"]
    },
    ImageVariant("metadata and data apart").with {
      $0.devices = [Device(dataAllowed: [.journal, .btree]), Device(dataAllowed: [.user])]
      $0.change = .always
    },
    ImageVariant("two devices of a fixed size").with {
      $0.devices = [Device(), Device()]
      $0.options = ["data_replicas=2", "metadata_replicas=2"]
      $0.sizeBytes = 100 << 20
    },
  ]

  private static let sized: [ImageVariant] = [
    ImageVariant("64 MiB").with {
      $0.sizeBytes = 64 << 20
      $0.change = .always
    },
    // The end of the device is no whole bucket.
    ImageVariant("an odd size").with { $0.sizeBytes = (200 << 20) + 12345 * 512 },
    ImageVariant("20 GiB").with { $0.sizeBytes = 20 << 30 },
  ]

  /// Each option, one at a time, and what meets where they cross.
  static let all: [ImageVariant] =
    crossed + several + sized
    + ["lz4", "gzip", "gzip:1", "gzip:9", "zstd", "zstd:1", "zstd:15"].map {
      ImageVariant(option: "compression=\($0)", change: $0 == "zstd" ? .always : .longOnly)
    }
    + ["background_compression=zstd:3"].map { ImageVariant(option: $0) }
    + ["none", "crc64", "xxhash"].map { ImageVariant(option: "data_checksum=\($0)") }
    + ["crc64", "xxhash"].map { ImageVariant(option: "metadata_checksum=\($0)") }
    + ["crc32c", "crc64"].map { ImageVariant(option: "str_hash=\($0)") }
    + ["512", "1024", "4096"].map { ImageVariant(option: "block_size=\($0)") }
    + ["16k", "64k", "256k"].map { ImageVariant(option: "btree_node_size=\($0)") }
    + ["4k", "128k", "256k"].map { ImageVariant(option: "encoded_extent_max=\($0)") }
    + ["inodes_32bit=0", "inline_data=0"].map { ImageVariant(option: $0) }
    // Linux 6.12 loses the size of files that it extends within a block in place, on volumes of
    // its own too.
    + [ImageVariant(option: "nocow=1", change: .never)]
    + [128, 256, 512, 1024, 2048, 4096].map { ImageVariant(bucketKiB: $0) }
}
