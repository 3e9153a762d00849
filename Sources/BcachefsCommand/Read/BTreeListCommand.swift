// SPDX-License-Identifier: GPL-2.0
// bcachefs list: the keys and nodes of a btree, in upstream's notation.
//
// Invariants
//   (1) Results are written as they are found: memory is that of a node, whatever the volume's
//       size.
//   (2) What cannot be read ends the listing, after all that came before it.
// Source: bcachefs-tools 1.13, src/commands/list.rs.

internal import Bcachefs
internal import BcachefsFormat

enum BTreeListCommand {
  static let spec = CommandSpec(
    name: "list",
    summary: "list the keys or nodes of a btree",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Prints keys as the kernel prints them, of all snapshots, one a line (inodes take several). "
        + "Positions are written INODE:OFFSET:SNAPSHOT, where U64_MAX and U32_MAX are names, and "
        + "POS_MIN, POS_MAX and SPOS_MAX whole positions.",
      "Modes: keys prints keys; nodes the pointers to the nodes of one level; formats these nodes' "
        + "bounds, packed formats and fill; nodes-ondisk every set of keys in them as it stands "
        + "on the device, with what later sets hide.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec(
            "btree", short: "b", .required(hint: "NAME"), choices: btreeNames,
            help: "which btree (default: extents): " + btreeNames.joined(separator: ", ")),
          OptionSpec(
            "bkey_type", short: "k", .required(hint: "TYPE"), choices: typeNames,
            help: "keys of this type alone: " + typeNames.joined(separator: ", ")),
          OptionSpec(
            "level", short: "l", .required(hint: "N"),
            help: "nodes of this level; 0 is leaves (default)"),
          OptionSpec("start", short: "s", .required(hint: "POS"), help: "from this position on"),
          OptionSpec("end", short: "e", .required(hint: "POS"), help: "up to this position"),
          OptionSpec(
            "mode", short: "m", .required(hint: "MODE"), choices: modes,
            help: "what to print (default: keys): " + modes.joined(separator: ", ")),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(
        line: "bcachefs list -b inodes -s 0:4096 -e 0:4096:U32_MAX volume.img",
        text: "The root directory's inode in all snapshots:"),
      CommandExample(
        line: "bcachefs list -b alloc -m formats volume.img", text: "How full nodes are:"),
    ],
    run: run)

  private static let modes = ["keys", "formats", "nodes", "nodes-ondisk"]
  private static var btreeNames: [String] { BTreeID.table.map { "\($0.name)" } }
  private static var typeNames: [String] {
    (0..<BKeyType.count).map { "\(BKeyType(rawValue: $0))" }
  }

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    let btree = try choice(arguments, "btree", btreeNames).map { index in
      BTreeID(rawValue: UInt8(index))
    }
    let type = try choice(arguments, "bkey_type", typeNames).map { index in
      BKeyType(rawValue: UInt8(index))
    }
    let mode = try choice(arguments, "mode", modes) ?? 0
    let level = try arguments.value(of: "level").map { (text) throws(CommandFailure) in
      guard let number = Int(text), 0..<BTreeNodeHeader.maxDepth ~= number else {
        throw .usage("--level: \(text) is no level of a btree", command: spec.name)
      }
      return number
    }
    let start = try position(arguments, "start") ?? .min
    let end = try position(arguments, "end") ?? .max
    let volume = try VolumeOperand.open(arguments)
    let listing = BTreeListing(
      volume: volume, btree: btree ?? .extents, level: level ?? 0, start: start, end: end,
      isJSON: arguments.contains("json"))
    switch mode {
    case 0: try listing.keys(of: type)
    case 1: try listing.nodes(withFormats: true)
    case 2: try listing.nodes(withFormats: false)
    default: try listing.nodesOnDisk()
    }
    try listing.finish()
  }

  private static func choice(
    _ arguments: ParsedArguments, _ option: String, _ names: [String]
  ) throws(CommandFailure) -> Int? {
    guard let text = arguments.value(of: option) else { return nil }
    if let index = names.firstIndex(of: text) { return index }
    let near = Suggestion.nearest(to: text, among: names)
    throw .usage(
      "--\(option): there is no \"\(text)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
      command: spec.name)
  }

  private static func position(
    _ arguments: ParsedArguments, _ option: String
  ) throws(CommandFailure) -> BPos? {
    guard let text = arguments.value(of: option) else { return nil }
    guard let position = BPos(text: text) else {
      throw .usage(
        "--\(option): \(text) is no position (INODE:OFFSET[:SNAPSHOT])", command: spec.name)
    }
    return position
  }
}

private final class BTreeListing {
  private let volume: Volume
  private let btree: BTreeID
  private let level: Int
  private let start: BPos
  private let end: BPos
  private let isJSON: Bool
  private let context: BKeyContext
  private let output = ByteOutput()
  private var isFirst = true
  /// What standard output refused; it ends the listing.
  private var failure: CommandFailure?

  init(volume: Volume, btree: BTreeID, level: Int, start: BPos, end: BPos, isJSON: Bool) {
    self.volume = volume
    self.btree = btree
    self.level = level
    self.start = start
    self.end = end
    self.isJSON = isJSON
    context = volume.keyContext
  }

  func finish() throws(CommandFailure) {
    if isJSON { try output.write(isFirst ? "[]\n" : "\n]\n") }
    try output.flush()
  }

  /// Writes one result, whichever form is wanted.
  ///
  /// - Throws: `.cancelled` when nobody takes it; `failure` says why.
  private func put(_ text: [UInt8], _ json: () -> JSONValue) throws(VolumeError) {
    do throws(CommandFailure) {
      guard isJSON else {
        try output.write(lines: text)
        return
      }
      try output.write(isFirst ? "[\n  " : ",\n  ")
      isFirst = false
      try output.write(json().text(indented: false))
    } catch {
      failure = error
      throw VolumeError(.cancelled)
    }
  }

  private func reading(_ body: () throws(VolumeError) -> Void) throws(CommandFailure) {
    do throws(VolumeError) {
      try body()
    } catch {
      try output.flush()
      throw failure ?? CommandFailure(error)
    }
  }

  func keys(of type: BKeyType?) throws(CommandFailure) {
    try reading { () throws(VolumeError) in
      try volume.forEachKey(of: btree, from: start, through: end) {
        (key, value) throws(VolumeError) in
        guard type == nil || type == key.type else { return true }
        var text = BKeyValue.textBytes(key: key, value: value, context: context)
        text.append(UInt8(ascii: "\n"))
        try put(text) {
          self.json(key, BKeyValue.valueText(key: key, value: value, context: self.context))
        }
        return true
      }
    }
  }

  private func json(_ key: BKey, _ text: String) -> JSONValue {
    .object([
      .init("btree", .string("\(btree)")), .init("type", .string("\(key.type)")),
      .init("inode", .integer(key.position.inode)),
      .init("offset", .integer(key.position.offset)),
      .init("snapshot", .number(key.position.snapshot)), .init("size", .number(key.size)),
      .init("version", .integer(key.version.lo)), .init("value", .string(text)),
    ])
  }

  func nodes(withFormats: Bool) throws(CommandFailure) {
    let nodeBytes = Int(volume.superblock[Superblock.Layout.btreeNodeSize]) * 512
    let room = max(nodeBytes - BTreeNodeHeader.Layout.keys, 8)
    try reading { () throws(VolumeError) in
      try volume.forEachNode(of: btree, level: level, from: start, through: end) {
        (node) throws(VolumeError) in
        guard withFormats else {
          try put(Array("\(node.pointer): \(node.pointerText)\n".utf8)) {
            self.json(node.pointer, node.pointerText)
          }
          return
        }
        let used = node.liveU64s * 8
        let text = """
          l \(node.level) \(node.minKey) - \(node.maxKey):
              ptrs: \(node.pointerText)
              format: \(node.format)
              bytes used \(used)/\(room) (\(used * 100 / room)% full)
              sib u64s: \(node.liveU64s), \(node.liveU64s) (merge threshold \(room / 8 / 3))
              nr packed keys \(node.packedCount)
              nr unpacked keys \(node.unpackedCount)


          """
        try put(Array(text.utf8)) {
          .object([
            .init("level", .integer(UInt64(node.level))),
            .init("min_key", .string("\(node.minKey)")),
            .init("max_key", .string("\(node.maxKey)")),
            .init("pointer", .string(node.pointerText)),
            .init("format", .string("\(node.format)")),
            .init("bytes_used", .integer(UInt64(used))),
            .init("packed_keys", .integer(UInt64(node.packedCount))),
            .init("unpacked_keys", .integer(UInt64(node.unpackedCount))),
          ])
        }
      }
    }
  }

  func nodesOnDisk() throws(CommandFailure) {
    try reading { () throws(VolumeError) in
      try volume.forEachNodeOnDisk(of: btree, level: level, from: start, through: end) {
        (result) throws(VolumeError) in
        switch result {
        case .failure(let error):
          try put(Array("\(error)\n".utf8)) { .object([.init("error", .string("\(error)"))]) }
        case .success(let blocks):
          for block in blocks { try put(block) }
          if !isJSON { try put([UInt8(ascii: "\n")]) { .null } }
        }
      }
    }
  }

  private func put(_ block: BTreeNodeBlock) throws(VolumeError) {
    var text =
      "  offset \(block.offsetSectors) version \(block.bset.version), "
      + "journal seq \(block.bset.journalSequence)\n"
    for key in block.keys {
      for line in key.split(separator: "\n", omittingEmptySubsequences: false) {
        text += "    \(line)\n"
      }
    }
    try put(Array(text.utf8)) {
      .object([
        .init("offset_sectors", .integer(UInt64(block.offsetSectors))),
        .init("version", .number(block.bset.version)),
        .init("journal_seq", .integer(block.bset.journalSequence)),
        .init("keys", .array(block.keys.map { .string($0) })),
      ])
    }
  }
}
