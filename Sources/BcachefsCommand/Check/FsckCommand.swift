// SPDX-License-Identifier: GPL-2.0
// bcachefs fsck -n: what contradicts itself on an unmounted volume, without writing.
//
// How it works
//   1. Findings are printed as they are found, under the pass that finds them, in upstream's words;
//      a count of each kind comes at the end.
//   2. With --json one document comes at the end: all counts, and of each kind the first findings.
//   3. Exit codes are those of fsck(8).

internal import Bcachefs
internal import BcachefsFormat

enum FsckCommand {
  static let spec = CommandSpec(
    name: "fsck",
    summary: "check that a volume's metadata agrees with itself; nothing is written",
    synopsis: "-n [OPTION...] VOLUME|DEV...",
    text: [
      "Works out again what follows from other keys, and compares it with what is there: the shape "
        + "of btrees, what is in each bucket, all counters, the indices of buckets, LRUs, "
        + "backpointers both ways, users of shared extents, erasure-coded stripes, the tree of "
        + "snapshots, subvolumes, inodes, extents of files, names, attributes, directories and "
        + "link counts, as every snapshot sees them. An unclean volume is checked as it is with "
        + "its journal.",
      "The passes are upstream's, in upstream's order: "
        + Volume.checkPasses.map(\.description).joined(separator: ", ") + ".",
      "Only -n is there: nothing is repaired, and nothing is written. What is found is said in the "
        + "driver's words, each with the name of its kind of error. On a terminal a line says "
        + "which pass is under way, and how much of it is done.",
      "The exit code is 0 if nothing is wrong, 4 if there are errors, 8 if the check could not be "
        + "made, 16 if a repair was asked for, 32 if it was interrupted.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("no", short: "n", help: "only look, and answer no to every repair; required"),
          OptionSpec("yes", short: "y", help: "repair: not possible yet, refused"),
          OptionSpec("preen", short: "p", help: "repair what is safe: not possible yet, refused"),
          OptionSpec("force", short: "f", help: "check clean volumes too; they always are"),
          OptionSpec(
            "ratelimit_errors", short: "r", help: "print at most 10 findings of each kind"),
          OptionSpec("verbose", short: "v", help: "name each pass as it begins"),
          OptionSpec(
            "memory", .required(hint: "SIZE"),
            help: "what tables may take, 1G without this option, beside 256M for nodes; with less, "
              + "btrees are read more often"),
          OptionSpec(
            "file_counters",
            help: "compare the counters of single files, too; the driver never does, and leaves "
              + "them wrong where it mends or upgrades"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs fsck -n /dev/sdb /dev/sdc", text: "A volume of two devices:"),
      CommandExample(
        line: "bcachefs fsck -n --json UUID=0b2a... | jq .counts", text: "For a program:"),
    ],
    run: run)

  /// Findings of one kind that JSON keeps, and that are printed with -r.
  private static let keptMax = 1000
  private static let rateLimit = 10

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard !arguments.operands.isEmpty else {
      throw .usage("name a volume: DEV[:DEV...] or DEV...", command: spec.name)
    }
    guard arguments.contains("no"), !arguments.contains("yes"), !arguments.contains("preen") else {
      throw CommandFailure(
        .checkUsage, "this program cannot repair yet",
        advice: "-n checks without writing; the driver's own fsck repairs.")
    }
    var options = CheckOptions()
    if let text = arguments.value(of: "memory") {
      guard let bytes = HumanSize.parse(text), bytes <= 1 << 50 else {
        throw .usage("--memory=\(text): not a size such as 512M", command: spec.name)
      }
      options.memoryBytes = Int(bytes)
    }
    options.comparesFileCounters = arguments.contains("file_counters")
    do throws(CommandFailure) {
      try check(arguments, options)
    } catch {
      switch error.status {
      case .errorsLeft, .checkInterrupted: throw error
      default: throw CommandFailure(.checkFailed, error.message, advice: error.advice)
      }
    }
  }

  private static func check(
    _ arguments: ParsedArguments, _ options: CheckOptions
  ) throws(CommandFailure) {
    let volume = try VolumeOperand.open(arguments, isAllOperands: true)
    let isJSON = arguments.contains("json")
    let limit = arguments.contains("ratelimit_errors") ? rateLimit : Int.max
    var kept: [JSONValue] = []
    var seen: [FsckErrorID: Int] = [:]
    Interruption.listen()
    let bar = ProgressBar(isWanted: !isJSON)
    defer { bar.finish() }
    var events = CheckEvents()
    events.shouldStop = { Interruption.isAsked }
    events.progress = { bar.show("\($0)", $1) }
    if arguments.contains("verbose"), !isJSON {
      events.pass = { pass in
        bar.finish()
        Output.remark(spec.name, "\(pass)...")
      }
    }
    events.finding = { finding in
      let count = seen[finding.id, default: 0] + 1
      seen[finding.id] = count
      bar.finish()
      if isJSON {
        if count <= keptMax { kept.append(json(finding)) }
      } else if count <= limit {
        Output.write("\(finding.text), not fixing (\(finding.id))\n")
      } else if count == limit + 1 {
        Output.write("Ratelimiting new instances of previous error (\(finding.id))\n")
      }
    }
    let counts: [FsckErrorID: Int]
    do throws(VolumeError) {
      counts = try volume.check(options, events)
    } catch {
      guard error.code == .cancelled else { throw CommandFailure(error) }
      throw CommandFailure(.checkInterrupted, "interrupted")
    }
    bar.finish()
    try conclude(counts, isJSON ? kept : nil)
  }

  private static func conclude(
    _ counts: [FsckErrorID: Int], _ findings: [JSONValue]?
  ) throws(CommandFailure) {
    let sorted = counts.sorted { $0.key.rawValue < $1.key.rawValue }
    let total = counts.values.reduce(0, +)
    if let findings {
      let numbers = sorted.map { id, count in
        JSONValue.Member("\(id)", .integer(UInt64(count)))
      }
      Output.write(
        .object([
          .init("errors", .integer(UInt64(total))), .init("counts", .object(numbers)),
          .init("findings", .array(findings)),
        ]))
    }
    guard total > 0 else {
      if findings == nil { Output.write("no errors found\n") }
      return
    }
    if findings == nil {
      for (id, count) in sorted { Output.write("\(count) \(id)\n") }
    }
    throw CommandFailure(
      .errorsLeft, "\(total) errors, of \(counts.count) kinds; nothing was changed")
  }

  private static func json(_ finding: CheckFinding) -> JSONValue {
    .object([
      .init("pass", .string("\(finding.pass)")), .init("error", .string("\(finding.id)")),
      .init("number", .integer(UInt64(finding.id.rawValue))), .init("text", .string(finding.text)),
    ])
  }
}
