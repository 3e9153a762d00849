// SPDX-License-Identifier: GPL-2.0
// Filling a volume from a directory, for format --source and image create: the build with its
// progress, and what is said of it in the end.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

struct SourceBuild {
  let arguments: FormatArguments
  let source: String
  let time: BuildTime
  let fitsDevices: Bool
  let command: String

  /// Refuses a source that is no directory before anything is asked or made.
  static func checkSource(_ path: String) throws(CommandFailure) {
    do throws(HostError) { _ = try HostTree(path) } catch { throw CommandFailure(error) }
  }

  func run(
    on devices: [BlockDevice], excluded: [HostFileIdentity]
  ) throws(CommandFailure) -> (ImageBuildResult, seconds: Double) {
    try VolumeChecks.checkReplicas(arguments.format)
    var request = ImageBuildRequest(
      sourcePath: source, format: arguments.format, fitsDevices: fitsDevices)
    request.workers = arguments.workers
    request.isReproducible = time.isFixed
    request.temporaryDirectory = Terminal.environment("TMPDIR")
    request.excluded = Set(excluded)
    let bar = ProgressBar(isWanted: !arguments.isQuiet && !arguments.printsJSON)
    bar.announce("looking through \(source) ...")
    var builder = ImageBuilder(
      request, random: time.random(uuid: arguments.format.uuid),
      report: { bar.show($0) })
    defer { bar.finish() }
    do throws(ImageError) {
      let result = try builder.build(on: devices)
      return (result, ProgressBar.seconds(bar.elapsed))
    } catch {
      throw CommandFailure(error)
    }
  }

  // MARK: - What is said in the end

  func report(_ result: ImageBuildResult, seconds: Double) {
    for warning in result.warnings { Output.remark(command, "warning: \(warning)") }
    let isRandom = arguments.format.encryption.isOn && arguments.format.masterKey == nil
    if time.isFixed && isRandom && !arguments.isQuiet {
      Output.remark(
        command, "note: the encryption key is random; --master_key_file makes builds repeatable")
    }
    if arguments.printsJSON {
      Output.write(json(result, seconds: seconds))
    } else if !arguments.isQuiet {
      Output.write(text(result, seconds: seconds))
    }
  }

  private func json(_ result: ImageBuildResult, seconds: Double) -> JSONValue {
    let devices = zip(arguments.format.devices, result.deviceBytes).map { device, bytes in
      JSONValue.object([.init("path", .string(device.name)), .init("bytes", .integer(bytes))])
    }
    return .object([
      .init("devices", .array(devices)),
      .init("user_uuid", .string(result.superblock.userUUID.description)),
      .init("version", .string(result.superblock.version.number)),
      .init("inodes", .integer(result.progress.inodes)),
      .init("bytes", .integer(result.progress.bytes)),
      .init("stored_bytes", .integer(result.progress.storedBytes)),
      .init("milliseconds", .integer(UInt64(max(seconds, 0) * 1000))),
      .init("warnings", .texts(result.warnings)),
    ])
  }

  private func text(_ result: ImageBuildResult, seconds: Double) -> String {
    let names = arguments.format.devices.map(\.name)
    let progress = result.progress
    let total = result.deviceBytes.reduce(0, +)
    let compression =
      arguments.format.options[.backgroundCompression] != 0
      ? VolumeOption.backgroundCompression : .compression
    let method = arguments.format.options[compression]
    let how = method == 0 ? "" : " (\(compression.text(method)))"
    let rate = UInt64(Double(progress.bytes) / max(seconds, 0.001))
    let count = names.count == 1 ? "" : " on \(names.count) devices"
    var out = "\(names.joined(separator: ", ")): bcachefs volume of "
    out += "\(HumanSize.text(total))\(count), UUID \(result.superblock.userUUID)\n"
    out += "  \(progress.inodes) inodes, \(HumanSize.text(progress.bytes)) of data in "
    out += "\(HumanSize.text(progress.storedBytes))\(how)\n"
    out +=
      "  in \(Self.decimal(seconds)) s: \(UInt64(Double(progress.inodes) / max(seconds, 0.001)))"
    out += " inodes and \(HumanSize.text(rate)) a second\n"
    return out + whatNext(names)
  }

  private func whatNext(_ names: [String]) -> String {
    let first = Self.quoted(names.first ?? "")
    var mount = "mount -t bcachefs -o loop \(first) /mnt"
    if arguments.format.devices.count > 1 {
      mount = "mount -t bcachefs /dev/loop0:/dev/loop1... /mnt"
    }
    return "Next: bcachefs show-super \(first)\n"
      + "      \(mount)   (Linux 6.7 to 6.17)\n"
  }

  /// As a shell takes it.
  static func quoted(_ text: String) -> String {
    let plain = text.allSatisfy { $0.isLetter || $0.isNumber || "/._-+,:@%=".contains($0) }
    if plain && !text.isEmpty { return text }
    return "'"
      + text.split(separator: "'", omittingEmptySubsequences: false)
      .joined(separator: "'\\''") + "'"
  }

  private static func decimal(_ value: Double) -> String {
    let hundredths = Int((max(value, 0) * 100).rounded())
    let rest = hundredths % 100
    return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
  }
}

extension VolumeEncryption {
  var isOn: Bool { if case .none = self { false } else { true } }
}

/// What can be said of a volume's options before anything is written.
enum VolumeChecks {
  /// Refuses sizes that contradict each other.
  static func checkGeometry(_ format: VolumeFormat) throws(CommandFailure) {
    var trial = format
    do throws(VolumeFormatError) {
      try trial.settleGeometry()
      var random = RandomSource(seed: 0)
      trial.encryption = .none
      _ = try trial.makeVolume(random: &random)
    } catch {
      throw CommandFailure(.configuration, error.description)
    }
  }

  /// A build writes every copy at once: there must be devices for them.
  static func checkReplicas(_ format: VolumeFormat) throws(CommandFailure) {
    for (option, type) in [(VolumeOption.dataReplicas, DataType.user), (.metadataReplicas, .btree)]
    {
      let usable = format.devices.filter { $0.durability > 0 && $0.dataAllowed.contains(type) }
      let copies = usable.reduce(0) { $0 + UInt64($1.durability) }
      guard copies >= format.options[option] else {
        throw CommandFailure(
          .configuration,
          "--\(option)=\(format.options[option]) needs as many devices that may hold \(type) data, "
            + "there are \(usable.count)")
      }
    }
    guard format.devices.contains(where: { $0.dataAllowed.contains(.journal) }) else {
      throw CommandFailure(.configuration, "no device may hold the journal (--data_allowed)")
    }
  }
}
