// SPDX-License-Identifier: GPL-2.0
// bcachefs scrub: verify every copy of everything, without a mount and without writing.
//
// How it works
//   1. What is found is printed as it is found, a table of the devices at the end.
//   2. With --resume the state is kept in a file, replaced as a whole after each part; a run that
//      finds an unfinished one goes on with it.
//   3. The first SIGINT or SIGTERM ends the scrub in order, a second one at once.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

enum ScrubCommand {
  static let spec = CommandSpec(
    name: "scrub",
    summary: "verify all data and metadata, and name what is damaged",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Reads every copy of every btree node and of every extent, of all snapshots, cached copies "
        + "and the blocks of erasure-coded stripes too, and verifies their checksums; superblocks "
        + "and journals as well. What has no checksum is only read. Nothing is written: not even "
        + "what could be repaired.",
      "Each bad copy is printed: repairable where another copy or the rest of its stripe is good, "
        + "lost where nothing gives the data back, harmless where nothing depends on it. Damaged "
        + "extents are named by the paths of the files that have them, in every subvolume.",
      "The exit code is 0 if everything is good, 65 if anything is repairable or lost, 75 if the "
        + "scrub was interrupted.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("metadata", short: "m", help: "check metadata only"),
          OptionSpec(
            "device", .required(hint: "DEV"),
            help: "check only what is on one member: its path as in VOLUME, or its index"),
          OptionSpec(
            "resume", .required(hint: "FILE"), isPath: true,
            help: "keep the state in FILE, and go on where an interrupted scrub has left it"),
          OptionSpec("quiet", short: "q", help: "no progress on the terminal"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs scrub /dev/sdb:/dev/sdc", text: "Everything:"),
      CommandExample(
        line: "bcachefs scrub --resume=scrub.state UUID=0b2a...",
        text: "In several sittings, each ended by Ctrl-C:"),
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments, namesBadCopies: false)
    var options = ScrubOptions()
    options.isMetadataOnly = arguments.contains("metadata")
    if let text = arguments.value(of: "device") {
      options.device = try device(text, of: volume)
    }
    let file = arguments.value(of: "resume").map { StateFile(path: $0) }
    let start = try state(in: file, of: volume, options)
    let printer = ScrubPrinter(
      volume: volume, options: options, isJSON: arguments.contains("json"),
      showsProgress: !arguments.contains("quiet"))
    Interruption.listen()
    var events = ScrubEvents()
    events.shouldStop = { Interruption.isAsked }
    events.progress = { printer.show($0) }
    events.finding = { printer.show($0) }
    let failures = Mutex<DeviceError?>(nil)
    events.checkpoint = { state in
      guard let file else { return }
      do throws(DeviceError) {
        try file.write(state.encoded)
      } catch {
        let isFirst = failures.withLock { first in
          defer { first = first ?? error }
          return first == nil
        }
        if isFirst { printer.remark("the state is not kept: \(error)") }
      }
    }
    let end = try VolumeOperand.reading { () throws(VolumeError) in
      try volume.scrub(start, events: events)
    }
    printer.finish(end)
    try conclude(end, file, failures.withLock { $0 })
  }

  private static func conclude(
    _ state: ScrubState, _ file: StateFile?, _ failure: DeviceError?
  ) throws(CommandFailure) {
    guard state.isFinished else {
      let advice = file.map { "The same command goes on; its state is in \($0.path)." }
      throw CommandFailure(
        .temporary, "interrupted",
        advice: advice ?? "With --resume=FILE a scrub can be interrupted and go on.")
    }
    let bad = state.repairableCount + state.lostCount
    if bad > 0 {
      throw CommandFailure(
        .badData,
        "\(state.lostCount) lost, \(state.repairableCount) repairable from other copies")
    }
    if let failure { throw CommandFailure(failure) }
  }

  /// The member that a path or an index names.
  private static func device(
    _ text: String, of volume: Volume
  ) throws(CommandFailure) -> UInt8 {
    let names = volume.deviceNames
    if let index = names.firstIndex(of: text) { return UInt8(clamping: index) }
    if let index = UInt8(text), names.indices.contains(Int(index)), names[Int(index)] != nil {
      return index
    }
    let known = names.enumerated().compactMap { index, name in name.map { "\(index) (\($0))" } }
    throw CommandFailure(
      .noInput, "there is no device \(text) in the volume; it has \(known.joined(separator: ", "))")
  }

  /// Where to begin: an unfinished scrub with the same options goes on.
  private static func state(
    in file: StateFile?, of volume: Volume, _ options: ScrubOptions
  ) throws(CommandFailure) -> ScrubState {
    let fresh = volume.newScrub(options)
    guard let file else { return fresh }
    let bytes: [UInt8]?
    do throws(DeviceError) { bytes = try file.read() } catch { throw CommandFailure(error) }
    guard let bytes, !bytes.isEmpty else { return fresh }
    let found: ScrubState
    do throws(VolumeError) {
      found = try ScrubState(decoding: bytes)
    } catch {
      throw CommandFailure(
        .badData, "\(file.path): \(error)",
        advice: "Name another file, or remove this one if it is not needed.")
    }
    guard found.volume == fresh.volume else {
      throw CommandFailure(
        .configuration, "\(file.path) is of a scrub of another volume (\(found.volume))",
        advice: "Name another file, or remove this one if it is not needed.")
    }
    guard !found.isFinished else { return fresh }
    guard found.options == options else {
      throw CommandFailure(
        .configuration, "\(file.path) is of a scrub with other options",
        advice: "Use the same --metadata and --device, or name another file.")
    }
    if found.superblockNumber != fresh.superblockNumber {
      Output.remark(
        spec.name,
        "the volume was written since the scrub began; what was checked before that is not "
          + "checked again")
    }
    return found
  }
}
