// SPDX-License-Identifier: GPL-2.0
// bcachefs image create: a volume from a directory, in new image files.
//
// How it works
//   1. The files are made without a name, sparse and large; the engine cuts them to what is used.
//   2. Names are given at the end, to all of them with signals held back; when one cannot be given,
//      those that were are taken away again, unless they replaced something.
// Invariants
//   (1) Under the final names there is a whole volume, or what was there before.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

enum ImageCreateCommand {
  static let spec = CommandSpec(
    name: "image create",
    summary: "build a volume from a directory",
    synopsis: "--source=DIR [OPTION...] FILE...",
    text: [
      "Builds a complete bcachefs volume from a directory in a new image file, without root and "
        + "without mounting. Several files become the devices of one volume. Types, modes, owners, "
        + "times, hard links, symbolic links, device nodes, extended attributes, ACLs and holes are "
        + "kept.",
      "With SOURCE_DATE_EPOCH in the environment and --uuid, the same input gives the same bytes, "
        + "whatever the number of workers (with --encrypted, --master_key_file is needed too). When "
        + "anything fails, nothing is left under the names given.",
    ],
    groups: [
      OptionGroup(
        title: "Image",
        options: [
          FormatOptionSpecs.source,
          OptionSpec(
            "size", .required(hint: "SIZE"),
            help: "size of each file, as in 10G (default: what the contents need, and some room)"),
          OptionSpec("force", short: "f", help: "replace files that exist"),
        ] + FormatOptionSpecs.building + FormatOptionSpecs.talking),
      OptionGroup(title: "Volume", options: FormatOptionSpecs.volume + FormatOptionSpecs.table),
      OptionGroup(
        title: "Devices (each applies to the files that follow it)",
        options: FormatOptionSpecs.device),
    ],
    examples: [
      CommandExample(
        line: "bcachefs image create --source=/usr/include --compression=zstd include.img",
        text: "A compressed volume, as large as it needs to be:"),
      CommandExample(
        line: "bcachefs image create --source=DIR --replicas=2 a.img b.img",
        text: "Two devices with a copy of everything on each:"),
      CommandExample(
        line: "SOURCE_DATE_EPOCH=0 bcachefs image create --source=DIR --uuid=$UUID v.img",
        text: "The same bytes every time:"),
    ],
    run: run)

  static func run(_ words: ParsedArguments) throws(CommandFailure) {
    var arguments = try FormatArguments(words)
    guard let source = arguments.source else {
      throw .usage("--source names the directory to build from", command: spec.name)
    }
    try SourceBuild.checkSource(source)
    let time = try BuildTime()
    arguments.settleTime(time)
    let fits = try settleSizes(&arguments)
    if fits { signal(SIGXFSZ, SIG_IGN) }
    var files: [UnpublishedImage] = []
    for device in arguments.format.devices {
      files.append(
        try UnpublishedImage(device.name, byteCount: device.byteCount, isForced: arguments.isForced)
      )
    }
    let build = SourceBuild(
      arguments: arguments, source: source, time: time, fitsDevices: fits, command: spec.name)
    let (result, seconds) = try build.run(
      on: files.map(\.device), excluded: files.flatMap(\.identities))
    try publish(files)
    build.report(result, seconds: seconds)
  }

  /// The sizes of all devices, or of none.
  ///
  /// - Returns: Whether the files are to fit.
  private static func settleSizes(_ arguments: inout FormatArguments) throws(CommandFailure) -> Bool
  {
    let devices = arguments.format.devices
    for (index, device) in devices.enumerated() where device.byteCount == 0 {
      guard let size = arguments.size else { continue }
      arguments.settleDevice(index, byteCount: size, blockBytes: device.blockBytes)
    }
    let sizes = arguments.format.devices.map(\.byteCount)
    let missing = sizes.count { $0 == 0 }
    guard missing == 0 || missing == sizes.count else {
      throw .usage(
        "--fs_size is given for some files only; --size is for all the others", command: spec.name)
    }
    if missing == 0 { try VolumeChecks.checkGeometry(arguments.format) }
    return missing > 0
  }

  private static func publish(_ files: [UnpublishedImage]) throws(CommandFailure) {
    let held: [Int32] = [SIGINT, SIGTERM, SIGHUP]
    do throws(DeviceError) {
      // What takes long first: names are given in no time then.
      for file in files { try file.device.flush() }
      for number in held { signal(number, SIG_IGN) }
      defer { for number in held { signal(number, SIG_DFL) } }
      for (index, file) in files.enumerated() {
        do throws(DeviceError) {
          try file.publish()
        } catch {
          for earlier in files[..<index] { earlier.withdraw() }
          throw error
        }
      }
    } catch {
      throw CommandFailure(error)
    }
  }
}
