// SPDX-License-Identifier: GPL-2.0
// bcachefs subvolume list, and list-snapshots: what there is of them in a volume.
//
// Invariants
//   (1) What is printed grows with what there is, whatever it says of itself: each snapshot is
//       drawn once, and no deeper than `drawnDepth`.

internal import Bcachefs
internal import BcachefsFormat

enum SubvolumeListCommand {
  static let spec = CommandSpec(
    name: "subvolume list",
    summary: "list subvolumes",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Prints the path, number, time of creation and flags of every subvolume but the root. Those "
        + "that are snapshots of others are left out, as upstream does, unless asked for.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("snapshots", short: "s", help: "snapshots, too, and of what they are"),
          OptionSpec("readonly", help: "read-only ones alone"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [CommandExample(line: "bcachefs subvolume list -s volume.img", text: "All of them:")],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let all = try VolumeOperand.reading { () throws(VolumeError) in try volume.subvolumes() }
    let showsSnapshots = arguments.contains("snapshots")
    let isJSON = arguments.contains("json")
    let shown = all.filter { info in
      (info.id != Subvolume.root || isJSON)
        && (showsSnapshots || isJSON || info.subvolume.creationParent == 0)
        && (!arguments.contains("readonly") || info.subvolume.isReadOnly)
    }
    if isJSON {
      Output.write(.array(shown.map(json)))
    } else {
      Output.write(table(of: shown, among: all, showsSnapshots: showsSnapshots))
    }
  }

  /// Everything that the command can print of a volume.
  static func allTexts(of volume: Volume) throws(VolumeError) -> [String] {
    let all = try volume.subvolumes()
    return [
      table(of: all, among: all, showsSnapshots: true), JSONValue.array(all.map(json)).text(),
    ]
  }

  private static func table(
    of shown: [SubvolumeInfo], among all: [SubvolumeInfo], showsSnapshots: Bool
  ) -> String {
    let byID = Dictionary(all.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    var table = TextTable(
      ["Path", "ID", "Created", "Flags"] + (showsSnapshots ? ["Snapshot"] : []))
    for info in shown {
      let flags = flags(info.subvolume)
      var row = [
        path(info), "\(info.id)", FileText.time(info.creationTime, isLong: false),
        flags.isEmpty ? "-" : flags.joined(separator: ","),
      ]
      if showsSnapshots {
        let parent = info.subvolume.creationParent
        row.append(parent == 0 ? "" : byID[parent].map(path) ?? "subvolume \(parent)")
      }
      table.add(row)
    }
    return table.text
  }

  private static func path(_ info: SubvolumeInfo) -> String {
    guard let path = info.path else { return "(no path)" }
    return path.isEmpty ? "/" : SafeText.text(path)
  }

  private static func flags(_ subvolume: Subvolume) -> [String] {
    (subvolume.isReadOnly ? ["ro"] : []) + (subvolume.isUnlinked ? ["unlinked"] : [])
  }

  private static func json(_ info: SubvolumeInfo) -> JSONValue {
    .object(
      (info.path.map { NameText.members("path", $0) } ?? [.init("path", .null)]) + [
        .init("id", .number(info.id)), .init("snapshot", .number(info.subvolume.snapshot)),
        .init("inode", .integer(info.subvolume.inode)),
        .init("creation_parent", .number(info.subvolume.creationParent)),
        .init("path_parent", .number(info.subvolume.pathParent)),
        .init("created_ns", .signed(info.creationTime)),
        .init("is_snapshot", .bool(info.subvolume.isSnapshot)),
        .init("flags", .texts(flags(info.subvolume))),
      ])
  }
}

enum SnapshotListCommand {
  static let spec = CommandSpec(
    name: "subvolume list-snapshots",
    summary: "draw the tree of snapshots",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Draws every tree of snapshots: leaves are what subvolumes show now, the nodes above hold "
        + "what they share. Sizes are of the data written in each node alone, where the volume "
        + "counts it.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("flat", short: "f", help: "a list, not a tree"), VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs subvolume list-snapshots volume.img", text: "The tree:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let (nodes, subvolumes) = try VolumeOperand.reading { () throws(VolumeError) in
      (try volume.snapshotTree(), try volume.subvolumes())
    }
    let paths = shownPaths(subvolumes)
    if arguments.contains("json") {
      Output.write(.array(nodes.map { json($0, paths) }))
    } else {
      Output.write(drawing(of: nodes, paths, isFlat: arguments.contains("flat")))
    }
  }

  /// Everything that the command can print of a volume.
  static func allTexts(of volume: Volume) throws(VolumeError) -> [String] {
    let nodes = try volume.snapshotTree()
    let paths = shownPaths(try volume.subvolumes())
    return [
      drawing(of: nodes, paths, isFlat: false), drawing(of: nodes, paths, isFlat: true),
      JSONValue.array(nodes.map { json($0, paths) }).text(),
    ]
  }

  private static func shownPaths(_ subvolumes: [SubvolumeInfo]) -> [UInt32: String] {
    var paths: [UInt32: String] = [:]
    for info in subvolumes {
      paths[info.id] = info.path.map { $0.isEmpty ? "/" : SafeText.text($0) } ?? "(no path)"
    }
    return paths
  }

  /// Deeper nodes are drawn at this depth: a chain of snapshots would take its square in spaces.
  private static let drawnDepth = 64

  private static func drawing(
    of nodes: [SnapshotInfo], _ paths: [UInt32: String], isFlat: Bool
  ) -> String {
    let byID = Dictionary(nodes.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    // Parents have higher numbers, so a node is drawn after its parent; each one once.
    var waiting: [(node: SnapshotInfo, prefix: String, depth: Int, isLast: Bool)] =
      nodes.reversed().filter { isFlat || byID[$0.snapshot.parent] == nil }
      .map { ($0, "", 0, true) }
    var out = ""
    while let (node, prefix, depth, isLast) = waiting.popLast() {
      let connector =
        depth == 0 ? "" : isLast ? "\u{2514}\u{2500}\u{2500} " : "\u{251c}\u{2500}\u{2500} "
      out += prefix + connector + label(node, paths) + "\n"
      guard !isFlat else { continue }
      let isDeepest = depth >= drawnDepth
      let below =
        depth == 0 || isDeepest ? prefix : prefix + (isLast ? "    " : "\u{2502}   ")
      let (first, second) = (node.snapshot.child0, node.snapshot.child1)
      let children = (first == second ? [first] : [first, second])
        .filter { $0 < node.id }.compactMap { byID[$0] }
        .filter { $0.snapshot.parent == node.id }
      for (index, child) in children.enumerated().reversed() {
        waiting.append((child, below, isDeepest ? depth : depth + 1, index == children.count - 1))
      }
    }
    return out
  }

  private static func label(_ node: SnapshotInfo, _ paths: [UInt32: String]) -> String {
    var text = "\(node.id)"
    let snapshot = node.snapshot
    if snapshot.subvolume != 0 {
      text += " \(paths[snapshot.subvolume] ?? "(subvolume \(snapshot.subvolume))")"
    } else {
      text += " (shared)"
    }
    if snapshot.isDeleted { text += " deleted" }
    if let sectors = node.sectors {
      text += " \(HumanSize.text(UInt64(clamping: sectors) &* 512))"
    }
    return text
  }

  private static func json(_ node: SnapshotInfo, _ paths: [UInt32: String]) -> JSONValue {
    let snapshot = node.snapshot
    return .object([
      .init("id", .number(node.id)), .init("parent", .number(snapshot.parent)),
      .init(
        "children",
        .array([snapshot.child0, snapshot.child1].filter { $0 != 0 }.map { .number($0) })),
      .init("subvolume", .number(snapshot.subvolume)),
      .init("path", paths[snapshot.subvolume].map { .string($0) } ?? .null),
      .init("tree", .number(snapshot.tree)), .init("depth", .number(snapshot.depth)),
      .init("deleted", .bool(snapshot.isDeleted)),
      .init("sectors", node.sectors.map { .signed($0) } ?? .null),
    ])
  }
}
