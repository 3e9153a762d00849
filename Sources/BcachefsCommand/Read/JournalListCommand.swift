// SPDX-License-Identifier: GPL-2.0
// bcachefs list_journal: what the journal of a volume holds, entry by entry.
//
// How it works
//   1. The headers of all entries are read; filters of numbers choose among them.
//   2. Contents are read, filtered and written an entry at a time.
// Invariants
//   (1) Memory is that of the headers and of one entry, whatever the journal's size.
//   (2) An entry that cannot be read is named, and the others are listed; the exit code says so.
// Source: bcachefs-tools 1.39, src/commands/list_journal.rs; 1.13, cmd_list_journal.c.

internal import Bcachefs
internal import BcachefsFormat

enum JournalListCommand {
  static let spec = CommandSpec(
    name: "list_journal",
    summary: "list the entries of the journal",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Prints journal entries, oldest first, each with the transactions in it: the function that "
        + "made it, what it wrote and what that replaced. Without options that is everything from "
        + "the last gap in the sequence numbers on.",
      "What recovery ignores, because its number is blacklisted or because it is newer than what "
        + "was last flushed, is only listed with --blacklisted, and has stars at its lines.",
      "A LIST after - leaves out what it names. Positions are written INODE:OFFSET[:SNAPSHOT], as "
        + "list does; without snapshots, keys of any snapshot are meant. -t BTREE:POS and -k "
        + "BTREE, as older tools had them, mean -k BTREE:POS and -b BTREE.",
      VolumeOperand.text,
    ],
    groups: [OptionGroup(title: "Which entries", options: selection)]
      + [OptionGroup(title: "Which transactions", options: filters)]
      + [OptionGroup(title: "How", options: form)],
    examples: [
      CommandExample(
        line: "bcachefs list_journal -n 1 volume.img", text: "The newest entry:"),
      CommandExample(
        line: "bcachefs list_journal -a -k inodes:0:4096 volume.img",
        text: "Everything that changed the root directory's inode:"),
      CommandExample(
        line: "bcachefs list_journal -H -B -v volume.img",
        text: "What recovery would make of each entry:"),
    ],
    run: run)

  private static let selection = [
    OptionSpec("all", short: "a", help: "all entries, not only those after the last gap"),
    OptionSpec("dirty_only", short: "d", help: "only entries that recovery would replay"),
    OptionSpec(
      "nr_entries", short: "n", .required(hint: "N"), help: "only the newest N sequence numbers"),
    OptionSpec(
      "seq", short: "s", .required(hint: "RANGE"),
      help: "only these sequence numbers: 12, 12..20, 12.. or ..20"),
    OptionSpec("blacklisted", short: "B", help: "entries that recovery ignores, too"),
    OptionSpec("flush_only", short: "F", help: "only entries that were written with a flush"),
  ]
  private static let filters = [
    OptionSpec(
      "btree", short: "b", .required(hint: "LIST"),
      help: "those that change one of these btrees, and only these keys of them"),
    OptionSpec(
      "transaction", short: "t", .required(hint: "LIST"), aliases: ["transaction_filter"],
      help: "those of functions whose names begin so: bch2_rename2,bch2_link"),
    OptionSpec(
      "key", short: "k", .required(hint: "LIST"), aliases: ["key_filter"],
      help: "those that change a key there: BTREE:POS, or BTREE:POS-BTREE:POS; may be repeated"),
    OptionSpec("log_only", short: "L", help: "those with a log message"),
    OptionSpec("log", short: "l", help: "those, too, that are nothing but log messages"),
    OptionSpec("all_headers", help: "headers of entries, too, without any such transaction"),
  ]
  private static let form =
    [
      OptionSpec("headers_only", short: "H", help: "only headers of entries"),
      OptionSpec("datetime", short: "D", help: "only numbers, and when they were written"),
      OptionSpec("offset", short: "O", help: "where in its entry each part stands, in words"),
      OptionSpec(
        "bkey_val", short: "V", .required(hint: "BOOL"), choices: ["true", "false"],
        help: "whether values of keys are printed (default: true)"),
      OptionSpec("verbose", short: "v", help: "what recovery would make of each entry"),
      VolumeOperand.json, VolumeOperand.passphraseFile,
      OptionSpec("options", short: "o", .required(hint: "OPTIONS"), help: "mount options"),
    ]

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    let selection = try JournalSelection(arguments)
    let filter = try JournalFilter(arguments)
    let showsValues = try boolean(arguments, "bkey_val") ?? true
    let options = try mountOptions(arguments)
    let journal = try VolumeOperand.openJournal(arguments, options: options)
    var text = JournalText(journal, filter: filter)
    text.showsValues = showsValues
    text.showsOffsets = arguments.contains("offset")
    text.showsFate = arguments.contains("verbose")
    try JournalPrinting(text, selection, arguments).run()
  }

  private static func boolean(
    _ arguments: ParsedArguments, _ name: String
  ) throws(CommandFailure) -> Bool? {
    guard let text = arguments.value(of: name) else { return nil }
    switch text {
    case "1", "true", "yes": return true
    case "0", "false", "no": return false
    default: throw .usage("--\(name): \(text) is neither true nor false", command: spec.name)
    }
  }

  private static func mountOptions(
    _ arguments: ParsedArguments
  ) throws(CommandFailure) -> VolumeOptions {
    var options = VolumeOptions()
    for list in arguments.values(of: "options") {
      do throws(OptionError) {
        if let unknown = try options.setMountOptions(list).first {
          throw OptionError(unknown, .unknownOption)
        }
      } catch {
        throw .usage("option \(error)", command: spec.name)
      }
    }
    return options
  }
}

/// Which sequence numbers are listed.
private struct JournalSelection {
  private var isContiguous: Bool
  private let isDirtyOnly: Bool
  private var count: UInt64?
  private var range: ClosedRange<UInt64> = 0...UInt64.max
  let showsIgnored: Bool
  let showsFlushedOnly: Bool

  init(_ arguments: ParsedArguments) throws(CommandFailure) {
    isContiguous = !arguments.contains("all")
    isDirtyOnly = arguments.contains("dirty_only")
    showsIgnored = arguments.contains("blacklisted")
    showsFlushedOnly = arguments.contains("flush_only")
    if let text = arguments.value(of: "nr_entries") {
      guard let number = UInt64(text), number > 0 else {
        throw .usage("--nr_entries: \(text) is no count", command: arguments.command)
      }
      count = number
    }
    guard let text = arguments.value(of: "seq") else { return }
    guard let range = Self.range(text) else {
      throw .usage(
        "--seq: \(text) is no range of sequence numbers (12, 12..20, 12.., ..20)",
        command: arguments.command)
    }
    self.range = range
    isContiguous = false
  }

  private static func range(_ text: String) -> ClosedRange<UInt64>? {
    guard let dots = text.firstRange(of: "..") else {
      return UInt64(text).map { $0...$0 }
    }
    let (start, end) = (text[..<dots.lowerBound], text[dots.upperBound...])
    guard let first = start.isEmpty ? 0 : UInt64(start),
      let last = end.isEmpty ? .max : UInt64(end)
    else { return nil }
    return min(first, last)...max(first, last)
  }

  /// First and last number to list.
  func numbers(of journal: VolumeJournal) -> ClosedRange<UInt64> {
    var first = range.lowerBound
    if isDirtyOnly { first = max(first, journal.replayed.lowerBound) }
    var newest: UInt64 = 0
    for entry in journal.entries where !entry.isDamaged {
      if isContiguous, newest != 0 {
        let gap = journal.countingRanges(in: newest &+ 1..<max(newest &+ 1, entry.sequence))
        if !gap.isEmpty { first = max(first, entry.sequence) }
      }
      newest = max(newest, entry.sequence)
    }
    if let count, newest >= count { first = max(first, newest - count + 1) }
    return first...max(first, range.upperBound)
  }
}

/// A listing under way.
private struct JournalPrinting {
  private var text: JournalText
  private let selection: JournalSelection
  private let command: String
  private let isJSON: Bool
  private let isHeadersOnly: Bool
  private let isDateOnly: Bool
  private let showsAllHeaders: Bool
  private let output = ByteOutput()

  init(_ text: JournalText, _ selection: JournalSelection, _ arguments: ParsedArguments) {
    self.text = text
    self.selection = selection
    command = arguments.command
    isJSON = arguments.contains("json")
    isHeadersOnly = arguments.contains("headers_only")
    isDateOnly = arguments.contains("datetime")
    showsAllHeaders = arguments.contains("all_headers")
    self.text.isForTerminal = output.isTerminal
  }

  func run() throws(CommandFailure) {
    let journal = text.journal
    let numbers = selection.numbers(of: journal)
    var expected: UInt64?
    var unreadable = 0
    var isFirst = true
    for entry in journal.entries where numbers.contains(entry.sequence) {
      if let expected, expected < entry.sequence {
        for gap in journal.countingRanges(in: expected..<entry.sequence) {
          try write(missing: gap, &isFirst)
        }
      }
      expected = entry.sequence == .max ? .max : entry.sequence + 1
      if entry.isIgnored && !selection.showsIgnored { continue }
      if !entry.header.isFlush && selection.showsFlushedOnly { continue }
      let parts: [VolumeJournal.Part]?
      do throws(VolumeError) {
        parts = try contents(of: entry)
      } catch {
        unreadable += 1
        try output.flush()
        Output.remark(command, "\(error)")
        continue
      }
      if isJSON {
        try write(json: entry, parts, &isFirst)
      } else {
        let block = block(entry, parts ?? [])
        try output.write(entry.isIgnored ? JournalText.starred(block) : block)
      }
    }
    if isJSON { try output.write(isFirst ? "[]\n" : "\n]\n") }
    try output.flush()
    guard unreadable == 0 else {
      throw CommandFailure(.badData, "\(unreadable) journal entries could not be read")
    }
  }

  /// Nil where contents are not needed, or there are none.
  private func contents(
    of entry: VolumeJournal.Entry
  ) throws(VolumeError) -> [VolumeJournal.Part]? {
    guard !entry.isDamaged else { return nil }
    guard !isHeadersOnly || isDateOnly || text.filter.isActive else { return nil }
    return try text.journal.contents(of: entry)
  }

  /// The parts that the filter leaves; nil when it leaves no transaction.
  private func shown(_ parts: [VolumeJournal.Part]) -> [VolumeJournal.Part]? {
    guard text.filter.isActive else { return parts }
    let transactions = JournalFilter.transactions(parts).filter { text.filter.shows(parts[$0]) }
    return transactions.isEmpty ? nil : transactions.flatMap { parts[$0] }
  }

  /// All that is printed of an entry; empty when the filter leaves nothing.
  private func block(
    _ entry: VolumeJournal.Entry, _ parts: [VolumeJournal.Part]
  ) -> [UInt8] {
    if isDateOnly { return Array(text.dateLine(entry, parts).utf8) }
    let shown = shown(parts)
    guard shown != nil || showsAllHeaders else { return [] }
    var block = Array(text.header(entry).utf8)
    if !isHeadersOnly, let shown { for part in shown { block += text.text(part) ?? [] } }
    return block
  }

  private func write(
    json entry: VolumeJournal.Entry, _ parts: [VolumeJournal.Part]?, _ isFirst: inout Bool
  ) throws(CommandFailure) {
    let shown = parts.flatMap(shown)
    if shown == nil && text.filter.isActive && !showsAllHeaders { return }
    try write(text.json(entry, parts: isHeadersOnly ? nil : shown), &isFirst)
  }

  private func write(_ value: JSONValue, _ isFirst: inout Bool) throws(CommandFailure) {
    try output.write((isFirst ? "[\n  " : ",\n  ") + value.text(indented: false))
    isFirst = false
  }

  /// Numbers that should be there: of entries that recovery would need, or of older ones.
  private func write(
    missing range: Range<UInt64>, _ isFirst: inout Bool
  ) throws(CommandFailure) {
    let isDirty = range.upperBound >= text.journal.replayed.lowerBound
    guard !isJSON else {
      let members: [JSONValue.Member] = [
        .init("start", .integer(range.lowerBound)), .init("end", .integer(range.upperBound - 1)),
        .init("dirty", .bool(isDirty)),
      ]
      try write(.object([.init("missing", .object(members))]), &isFirst)
      return
    }
    try output.write(
      "missing \(range.upperBound - range.lowerBound) entries at "
        + "\(range.lowerBound)-\(range.upperBound - 1)\(isDirty ? "" : " (not dirty)")\n")
  }
}
