// SPDX-License-Identifier: GPL-2.0
// bcachefs format: new volumes on devices and image files that are there.
//
// How it works
//   1. All devices are opened, exclusively, before anything else: one in use refuses the whole.
//   2. What a device holds already is named, and stays unless --force or an answer gives it up.
//   3. Geometry is settled and checked; then old marks are erased and the superblocks are written.
//      Without --source the volume is empty, and the driver initialises it at its first mount.
// Invariants
//   (1) Nothing is written before every check has passed.
// Source: bcachefs-tools c_src/cmd_format.c.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

enum FormatCommand {
  static let spec = CommandSpec(
    name: "format",
    summary: "make a new volume on devices",
    synopsis: "[OPTION...] DEVICE...",
    text: [
      "Makes a new bcachefs volume on one or more block devices or existing image files. With "
        + "--source it is filled with a directory's contents, else it is empty. A device that is in "
        + "use is refused; one that holds something else is only overwritten with --force, or when "
        + "you say so on a terminal.",
      "Options of devices apply to the devices that follow them.",
    ],
    groups: [
      OptionGroup(title: "Volume", options: FormatOptionSpecs.table + FormatOptionSpecs.volume),
      OptionGroup(
        title: "Devices (each applies to the devices that follow it)",
        options: FormatOptionSpecs.device),
      OptionGroup(
        title: "Contents", options: [FormatOptionSpecs.source] + FormatOptionSpecs.building),
      OptionGroup(
        title: "This command",
        options: [
          OptionSpec("force", short: "f", help: "overwrite what a device holds"),
          OptionSpec(
            "no_initialize",
            help: "accepted and without effect: the driver initialises an empty volume when it is "
              + "first mounted"),
        ] + FormatOptionSpecs.talking),
    ],
    examples: [
      CommandExample(line: "bcachefs format /dev/sdb", text: "One device, defaults:"),
      CommandExample(
        line: "bcachefs format --label=ssd /dev/sda --label=hdd /dev/sdb /dev/sdc "
          + "--foreground_target=ssd --promote_target=ssd --background_target=hdd --replicas=2",
        text: "A fast and two slow devices, two copies of everything:"),
      CommandExample(
        line: "truncate -s 10G v.img && bcachefs format --encrypted v.img",
        text: "An encrypted volume in an image file:"),
    ],
    run: run)

  static func run(_ words: ParsedArguments) throws(CommandFailure) {
    var arguments = try FormatArguments(words)
    if let source = arguments.source { try SourceBuild.checkSource(source) }
    let time = try BuildTime()
    arguments.settleTime(time)
    let devices = try open(arguments)
    try settle(&arguments, devices)
    try VolumeChecks.checkGeometry(arguments.format)
    if arguments.source != nil { try VolumeChecks.checkReplicas(arguments.format) }
    try giveUpContents(of: devices, arguments)
    try using { () throws(DeviceError) in
      for device in devices { try device.eraseSignatures() }
    }
    if let source = arguments.source {
      let build = SourceBuild(
        arguments: arguments, source: source, time: time, fitsDevices: false, command: spec.name)
      let excluded = devices.compactMap { HostFileIdentity(path: $0.name) }
      let (result, seconds) = try build.run(on: devices, excluded: excluded)
      build.report(result, seconds: seconds)
    } else {
      try writeEmpty(arguments, time, devices)
    }
    try using { () throws(DeviceError) in
      for device in devices { try device.close() }
    }
  }

  private static func using<Result>(
    _ body: () throws(DeviceError) -> Result
  ) throws(CommandFailure) -> Result {
    do throws(DeviceError) { return try body() } catch { throw CommandFailure(error) }
  }

  // MARK: - Devices

  private static func open(_ arguments: FormatArguments) throws(CommandFailure) -> [BlockDevice] {
    var devices: [BlockDevice] = []
    for device in arguments.format.devices {
      devices.append(
        try using { () throws(DeviceError) in
          try BlockDevice.open(path: device.name, mode: .exclusiveReadWrite)
        })
    }
    return devices
  }

  private static func settle(
    _ arguments: inout FormatArguments, _ devices: [BlockDevice]
  ) throws(CommandFailure) {
    for (index, device) in devices.enumerated() {
      let asked = arguments.format.devices[index].byteCount
      guard asked <= device.byteCount else {
        throw CommandFailure(
          .configuration,
          "\(device.name) has \(HumanSize.text(device.byteCount)), less than --fs_size="
            + HumanSize.text(asked))
      }
      arguments.settleDevice(
        index, byteCount: asked == 0 ? device.byteCount : asked, blockBytes: device.blockSizeBytes)
    }
    if arguments.format.options.defined(.blockSize) == nil {
      // What the media write at once, up to a page, which is as much as the driver takes.
      let largest = devices.map(\.physicalBlockSizeBytes).max() ?? 4096
      arguments.setBlockSize(UInt64(min(max(largest, 512), 4096)))
    }
  }

  /// Names what the devices hold; goes on only where that may be lost.
  private static func giveUpContents(
    of devices: [BlockDevice], _ arguments: FormatArguments
  ) throws(CommandFailure) {
    for device in devices {
      let found = try signatures(of: device)
      guard !found.isEmpty else { continue }
      let contents = "\(device.name) is not empty: \(found.joined(separator: "; "))"
      if arguments.isForced {
        if !arguments.isQuiet { Output.remark(spec.name, "\(contents): overwritten") }
        continue
      }
      guard Terminal.inputIsTerminal else {
        throw CommandFailure(.cannotCreate, contents, advice: "--force overwrites it.")
      }
      Output.writeToError("\(contents)\n")
      guard Terminal.confirm("Proceed anyway?") else {
        throw CommandFailure(.cannotCreate, "nothing was changed")
      }
    }
  }

  /// What is recognised on a device. libblkid of Debian 12 does not know bcachefs.
  private static func signatures(of device: BlockDevice) throws(CommandFailure) -> [String] {
    var found = try using { () throws(DeviceError) in try device.existingSignatures() }
      .map(\.description)
    let isKnown = found.contains { $0.hasPrefix("bcachefs ") }
    if !isKnown, let superblock = FoundSuperblock.mainCopy(on: device) {
      let label =
        superblock.label.isEmpty ? "" : ", labelled \"\(SafeText.text(superblock.label.name))\""
      found.append("bcachefs filesystem\(label), UUID \(superblock.userUUID)")
    }
    return found
  }

  // MARK: - Empty volumes

  private static func writeEmpty(
    _ arguments: FormatArguments, _ time: BuildTime, _ devices: [BlockDevice]
  ) throws(CommandFailure) {
    var format = arguments.format
    var random = time.random(uuid: format.uuid)
    let volume: FormattedVolume
    do throws(VolumeFormatError) {
      try format.settleGeometry()
      volume = try format.makeVolume(random: &random)
    } catch {
      throw CommandFailure(.configuration, error.description)
    }
    if arguments.isVerbose { remark(format) }
    do throws(ImageError) { try volume.write(to: devices) } catch { throw CommandFailure(error) }
    report(volume, arguments)
  }

  private static func remark(_ format: VolumeFormat) {
    for device in format.devices {
      let bucketBytes = max(device.bucketBytes ?? 1, 1)
      Output.remark(
        spec.name,
        "\(device.name): \(HumanSize.text(device.byteCount)), "
          + "\(device.byteCount / bucketBytes) buckets of \(HumanSize.text(bucketBytes))")
    }
  }

  private static func report(_ volume: FormattedVolume, _ arguments: FormatArguments) {
    if arguments.printsJSON {
      Output.write(volume.superblock(forDevice: 0).json())
    } else if !arguments.isQuiet {
      let style = SuperblockTextStyle(
        sections: .only([.membersV2]), localOffset: { LocalTime.offset(at: $0) })
      // The state of the last device, as upstream has it.
      Output.write(volume.superblock(forDevice: volume.layouts.count - 1).text(style: style))
    }
  }
}
