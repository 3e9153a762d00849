// SPDX-License-Identifier: GPL-2.0
// Which transactions of a journal are listed.
//
// How it works
//   1. A journal entry is a row of transactions, among parts that belong to none (roots, clocks,
//      usage, the time). A transaction begins with a log message of level 0, the name of the
//      function that made it, and goes up to the next one, or to a part that belongs to none.
//   2. Filters choose whole transactions; that of btrees also which of their keys are shown.
// Invariants
//   (1) Without any filter everything is listed, and transactions do not matter.
// Source: bcachefs-tools 1.39, src/commands/list_journal.rs.

internal import Bcachefs
internal import BcachefsFormat

/// What `list_journal` is asked for.
struct JournalFilter {
  private struct KeyRange {
    let isExcluded: Bool
    let range: ClosedRange<BTreePosition>
  }

  /// Shown, too, whatever the other filters say: transactions that are log messages alone.
  private let showsLogOnly: Bool
  /// Transactions with a log message alone.
  private let wantsLog: Bool
  /// By number; nil: all.
  private var btrees: Set<UInt8>?
  private var functions: [String] = []
  private var functionsAreExcluded = false
  private var ranges: [KeyRange] = []

  /// Whether anything is left out.
  var isActive: Bool { wantsLog || btrees != nil || !functions.isEmpty || !ranges.isEmpty }

  /// Messages that say which background work it was, not what it did.
  private static let workNames = ["rebalance", "reconcile", "copygc", "promote"]

  init(_ arguments: ParsedArguments) throws(CommandFailure) {
    showsLogOnly = arguments.contains("log")
    wantsLog = arguments.contains("log_only")
    if let text = arguments.value(of: "btree") { try setBTrees(text, arguments.command) }
    // What bcachefs-tools of Linux 6.12 understood by -t and -k is taken, too.
    if let text = arguments.value(of: "transaction") {
      if text.contains(":") {
        try addRanges(text, "--transaction", arguments.command)
      } else {
        let (isExcluded, list) = Self.signed(text)
        functionsAreExcluded = isExcluded
        functions = list.split(separator: ",").map(String.init)
      }
    }
    for text in arguments.values(of: "key") {
      if text.contains(":") {
        try addRanges(text, "--key", arguments.command)
      } else {
        try setBTrees(text, arguments.command)
      }
    }
  }

  /// `-LIST` leaves out what is listed; `+LIST` and `LIST` list it alone.
  private static func signed(_ text: String) -> (isExcluded: Bool, list: Substring) {
    (text.hasPrefix("-"), text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...])
  }

  private mutating func setBTrees(_ text: String, _ command: String) throws(CommandFailure) {
    let (isExcluded, list) = Self.signed(text)
    let names = BTreeID.table.map { "\($0.name)" }
    var numbers: Set<UInt8> = []
    for name in list.split(separator: ",") {
      guard let index = names.firstIndex(of: String(name)) else {
        let near = Suggestion.nearest(to: String(name), among: names)
        throw .usage(
          "--btree: there is no btree \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
          command: command)
      }
      numbers.insert(UInt8(index))
    }
    btrees = isExcluded ? Set(UInt8.min...UInt8.max).subtracting(numbers) : numbers
  }

  private mutating func addRanges(
    _ text: String, _ option: String, _ command: String
  ) throws(CommandFailure) {
    let (isExcluded, list) = Self.signed(text)
    for part in list.split(separator: ",") {
      guard let range = ClosedRange<BTreePosition>(text: String(part)) else {
        throw .usage(
          "\(option): \(part) is no range of positions (BTREE:INODE:OFFSET[:SNAPSHOT], or two of "
            + "them with - between)", command: command)
      }
      ranges.append(KeyRange(isExcluded: isExcluded, range: range))
    }
  }

  // MARK: - Transactions

  /// The transactions of an entry, as ranges of its parts.
  static func transactions(_ parts: [VolumeJournal.Part]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var start: Int?
    for index in parts.indices {
      let begins = beginsTransaction(parts[index])
      if let open = start, begins || belongsToNone(parts[index]) {
        result.append(open..<index)
        start = nil
      }
      if begins { start = index }
    }
    if let start { result.append(start..<parts.count) }
    return result
  }

  static func beginsTransaction(_ part: VolumeJournal.Part) -> Bool {
    guard case .success(let entry) = part.contents else { return false }
    return entry.type == .log && entry.level == 0
  }

  static func belongsToNone(_ part: VolumeJournal.Part) -> Bool {
    guard case .success(let entry) = part.contents else { return false }
    return [.btreeRoot, .datetime, .usage, .clock].contains(entry.type)
  }

  /// - Parameter parts: a whole transaction.
  func shows(_ parts: ArraySlice<VolumeJournal.Part>) -> Bool {
    let entries = parts.compactMap { try? $0.contents.get() }
    guard let head = entries.first else { return false }
    let rest = entries.dropFirst()
    let hasLog = rest.contains(where: isLogMessage)
    if showsLogOnly, !rest.isEmpty,
      rest.allSatisfy({ isLogMessage($0) || $0.keyBytes?.isEmpty == true })
    {
      return true
    }
    if wantsLog && !hasLog { return false }
    if btrees != nil, !rest.contains(where: { $0.type.holdsKeys && hasChosenBTree($0) }) {
      return false
    }
    if !functions.isEmpty {
      let name = head.logText ?? ""
      let matches = functions.contains { name.hasPrefix($0) }
      if matches == functionsAreExcluded { return false }
    }
    let excluded = ranges.filter(\.isExcluded)
    if rest.contains(where: { entry in excluded.contains { Self.entry(entry, meets: $0.range) } }) {
      return false
    }
    let wanted = ranges.filter { !$0.isExcluded }
    return wanted.isEmpty
      || rest.contains { entry in wanted.contains { Self.entry(entry, meets: $0.range) } }
  }

  private func isLogMessage(_ entry: JSetEntry) -> Bool {
    guard entry.type == .log, entry.level != 0, let text = entry.logText else { return false }
    return !Self.workNames.contains { text.hasPrefix($0) }
  }

  // MARK: - Parts

  /// Whether a part of a shown transaction is shown: keys of chosen btrees alone.
  func shows(_ entry: JSetEntry) -> Bool {
    guard entry.type.holdsKeys else { return true }
    return entry.keyBytes?.isEmpty == false && hasChosenBTree(entry)
  }

  private func hasChosenBTree(_ entry: JSetEntry) -> Bool {
    guard let btrees else { return true }
    return entry.level == 0 && entry.type != .btreeRoot && btrees.contains(entry.btree.rawValue)
  }

  /// Whether a part has a key that one of the ranges names.
  func highlights(_ entry: JSetEntry) -> Bool {
    ranges.contains { Self.entry(entry, meets: $0.range) }
  }

  private static func entry(
    _ entry: JSetEntry, meets range: ClosedRange<BTreePosition>
  ) -> Bool {
    guard entry.level == 0, entry.type.holdsKeys, entry.type != .btreeRoot,
      let bytes = entry.keyBytes
    else { return false }
    var keys = unsafe JSetKeyIterator(bytes.span.bytes)
    while let key = try? keys.next() {
      if range.contains(entry.btree, key.position) { return true }
    }
    return false
  }
}
