// SPDX-License-Identifier: GPL-2.0
// From the arguments of format and image create to the volume that is asked for.
//
// How it works
//   1. Parts are taken in their order: an option of the volume counts wherever it stands, one of a
//      device applies to the devices that follow it, until it is given again (the size to the next
//      device only).
//   2. Passphrase and key are read at the end, when everything else is in order.
// Invariants
//   (1) Nothing is opened or changed but the files of passphrase and key, which are read.
// Source: bcachefs-tools c_src/cmd_format.c (cmd_format) for what the options mean.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

struct FormatArguments {
  /// With sizes of 0 where none was given.
  private(set) var format = VolumeFormat(devices: [])
  let isForced: Bool
  let isQuiet: Bool
  let isVerbose: Bool
  let printsJSON: Bool
  let source: String?
  let workers: Int
  /// Size of each image, where given (image create).
  private(set) var size: UInt64?
  private let command: String
  private var device = DeviceFormat(name: "", byteCount: 0)
  /// A device option that no device has followed yet.
  private var pendingOption: String?

  init(_ arguments: ParsedArguments) throws(CommandFailure) {
    command = arguments.command
    isForced = arguments.contains("force")
    isQuiet = arguments.contains("quiet")
    isVerbose = arguments.contains("verbose")
    printsJSON = arguments.contains("json")
    source = arguments.value(of: "source")
    workers = try Self.workers(arguments)
    for part in arguments.parts {
      switch part {
      case .operand(let path): try addDevice(path)
      case .option(let spec, let value): try take(spec, value)
      }
    }
    if let pendingOption {
      throw usage("--\(pendingOption) applies to devices that follow it, and none does")
    }
    guard !format.devices.isEmpty else {
      throw usage(command == "format" ? "name a device to format" : "name a file to make")
    }
    format.encryption = try encryption(arguments)
    format.masterKey = try masterKey(arguments)
  }

  private func usage(_ message: String) -> CommandFailure { .usage(message, command: command) }

  private static func workers(_ arguments: ParsedArguments) throws(CommandFailure) -> Int {
    guard let text = arguments.value(of: "workers") else { return Processors.count }
    guard let number = Int(text), (1...256).contains(number) else {
      throw .usage("--workers: \(text) is not a number from 1 to 256", command: arguments.command)
    }
    return number
  }

  // MARK: - Options

  private mutating func addDevice(_ path: String) throws(CommandFailure) {
    guard !format.devices.contains(where: { $0.name == path }) else {
      throw usage("\(path) is named twice")
    }
    var added = device
    added.name = path
    format.devices.append(added)
    device.byteCount = 0
    pendingOption = nil
  }

  private mutating func take(_ spec: OptionSpec, _ value: String?) throws(CommandFailure) {
    if let row = spec.row {
      try takeRow(row, value)
      return
    }
    let text = value ?? ""
    switch spec.name {
    case "replicas":
      let number = try parsed(.dataReplicas, text, name: "replicas")
      format.options[.dataReplicas] = number
      format.options[.metadataReplicas] = number
    case "fs_label": format.label = text
    case "uuid":
      guard let uuid = UUID(text), !uuid.isZero else { throw usage("--uuid: \(text) is no UUID") }
      format.uuid = uuid
    case "superblock_size": format.superblockBytes = try superblockSize(text)
    case "version": try checkVersion(text)
    case "label":
      device.label = text
      pendingOption = spec.name
    case "size": size = try parsedSize(text, name: spec.name)
    default: break
    }
  }

  private mutating func takeRow(_ row: VolumeOption, _ value: String?) throws(CommandFailure) {
    if case .target = row.row.kind {
      format.targets[row] = value == "none" || value == "" ? nil : value
      return
    }
    if row.flags.contains(.device) {
      pendingOption = row.name
      try takeDeviceRow(row, value)
      return
    }
    let number = try parsed(row, value, name: row.name)
    format.options[row] = number
  }

  private mutating func takeDeviceRow(
    _ row: VolumeOption, _ value: String?
  ) throws(CommandFailure) {
    let number = try parsed(row, value, name: row.name)
    switch row {
    case .discard: device.discard = number != 0
    case .fsSize: device.byteCount = number / 512 * 512
    case .bucket: device.bucketBytes = number
    case .durability: device.durability = UInt8(clamping: number)
    case .dataAllowed: device.dataAllowed = PersistentMask(rawValue: number)
    default: throw usage("--\(row): not an option of this command")
    }
  }

  private func parsed(
    _ row: VolumeOption, _ value: String?, name: String
  ) throws(CommandFailure) -> UInt64 {
    do throws(OptionError) {
      return try row.parse(value)
    } catch {
      throw usage("--\(OptionError(name, error.reason))")
    }
  }

  private func parsedSize(_ text: String, name: String) throws(CommandFailure) -> UInt64 {
    guard let bytes = HumanSize.parse(text), bytes > 0 else {
      throw usage("--\(name): \(text) is not a size, such as 512M or 10G")
    }
    guard bytes % 512 == 0 else {
      throw usage("--\(name): \(text) is not a multiple of 512 bytes")
    }
    return bytes
  }

  private func superblockSize(_ text: String) throws(CommandFailure) -> UInt64 {
    let bytes = try parsedSize(text, name: "superblock_size")
    // Upstream's longest superblock is 32 MiB; below 8 KiB there is no room for the sections.
    guard bytes.nonzeroBitCount == 1, bytes >= 8 << 10, bytes <= 32 << 20 else {
      throw usage("--superblock_size: \(text) is no power of two from 8k to 32M")
    }
    return bytes
  }

  private func checkVersion(_ text: String) throws(CommandFailure) {
    let number = UInt16(text).map { MetadataVersion(rawValue: $0) }
    guard let version = number ?? MetadataVersion(parsing: text) else {
      throw usage("--version: \(text) is no format version, such as 1.13")
    }
    guard version == .native else {
      throw usage(
        "--version: this program writes version \(MetadataVersion.native.number), not "
          + version.number)
    }
  }

  // MARK: - Encryption

  private func encryption(_ arguments: ParsedArguments) throws(CommandFailure) -> VolumeEncryption {
    let file = arguments.value(of: "passphrase_file")
    let isWithout = arguments.contains("no_passphrase")
    guard arguments.contains("encrypted") else {
      guard file == nil, !isWithout else {
        throw usage("a passphrase is of use with --encrypted only")
      }
      return .none
    }
    guard file == nil || !isWithout else {
      throw usage("--passphrase_file and --no_passphrase exclude each other")
    }
    if isWithout { return .withoutPassphrase }
    let bytes = try file.map { path throws(CommandFailure) in try Passphrase.read(file: path) }
    if let bytes { return .passphrase(bytes) }
    return .passphrase(try Passphrase.readNew())
  }

  private func masterKey(_ arguments: ParsedArguments) throws(CommandFailure) -> EncryptionKey? {
    guard let path = arguments.value(of: "master_key_file") else { return nil }
    guard arguments.contains("encrypted") else {
      throw usage("--master_key_file is of use with --encrypted only")
    }
    let bytes = try SmallFile.read(path)
    guard bytes.count == EncryptionKey.byteCount else {
      throw CommandFailure(
        .badData, "\(path): a key has \(EncryptionKey.byteCount) bytes, not \(bytes.count)")
    }
    return EncryptionKey(copying: bytes.rawBytes)
  }

  // MARK: - Devices

  /// Settles a device's size and block size, once it is open.
  mutating func settleDevice(_ index: Int, byteCount: UInt64, blockBytes: Int) {
    format.devices[index].byteCount = byteCount
    format.devices[index].blockBytes = blockBytes
  }

  mutating func setBlockSize(_ bytes: UInt64) { format.options[.blockSize] = bytes }

  /// Time, UUID and randomness for a build: repeatable where SOURCE_DATE_EPOCH says so.
  mutating func settleTime(_ time: BuildTime) { format.timeNanoseconds = time.nanoseconds }
}
