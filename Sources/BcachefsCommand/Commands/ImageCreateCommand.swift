// SPDX-License-Identifier: GPL-2.0
internal import ArgumentParser
internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct ImageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image", abstract: "Builds volumes as image files.",
    subcommands: [ImageCreateCommand.self])
}

struct ImageCreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Builds a volume from a directory.")

  @Option var source: String
  @Option var size: UInt64?
  @Option var uuid: String?
  @Option var workers = 2
  @Option var opt: [String] = []
  @Option var bucket: UInt64?
  @Option var passphrase: String?
  @Argument var files: [String]

  func run() throws {
    var devices: [DeviceFormat] = []
    for file in files {
      var device = DeviceFormat(name: file, byteCount: size ?? 0)
      device.bucketBytes = bucket
      devices.append(device)
    }
    var format = VolumeFormat(devices: devices)
    for text in opt {
      let parts = text.split(separator: "=", maxSplits: 1)
      guard let option = VolumeOption(named: parts[0]) else { throw ValidationError(text) }
      format.options[option] = try option.parse(String(parts[1]))
    }
    format.timeNanoseconds = 1_700_000_000_000_000_000
    if let passphrase { format.encryption = .passphrase(passphrase) }
    format.uuid = uuid.flatMap { UUID($0) }
    var request = ImageBuildRequest(
      sourcePath: source, format: format, fitsDevices: size == nil)
    request.workers = workers
    request.isReproducible = true
    var builder = ImageBuilder(request, random: RandomSource(seed: 1))
    var opened: [BlockDevice] = []
    for file in files {
      opened.append(
        try BlockDevice.create(path: file, byteCount: size ?? 1 << 40))
    }
    let result = try builder.build(on: opened)
    print(result.progress, result.deviceBytes, result.warnings)
  }
}
