// SPDX-License-Identifier: GPL-2.0
// bcachefs tree: a volume's tree, drawn.

internal import Bcachefs
internal import BcachefsFormat

enum TreeCommand {
  static let spec = CommandSpec(
    name: "tree",
    summary: "draw the tree of a volume",
    synopsis: "[OPTION...] VOLUME [PATH]",
    text: [
      "Draws the directories below PATH, or of the whole volume, and counts them. Subvolumes are "
        + "directories where they are.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("all", short: "a", help: "names that begin with a dot, too"),
          OptionSpec("directories", short: "d", help: "directories only"),
          OptionSpec("level", short: "L", .required(hint: "N"), help: "at most N levels deep"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [CommandExample(line: "bcachefs tree -L 2 volume.img", text: "The upper levels:")],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count <= 2 else {
      throw .usage("one path at a time", command: spec.name)
    }
    let level = try arguments.value(of: "level").map { (text) throws(CommandFailure) in
      guard let number = Int(text), number > 0 else {
        throw .usage("--level: \(text) is not a number above 0", command: spec.name)
      }
      return number
    }
    let volume = try VolumeOperand.open(arguments)
    let path = arguments.operands.dropFirst().first ?? ""
    let root = try VolumeOperand.file(path, in: volume)
    let damage = DamageReport(command: spec.name)
    let walk = TreeWalk(volume: volume, isSorted: true, damage: damage)
    let drawing = TreeDrawing(
      volume: volume, damage: damage, showsHidden: arguments.contains("all"),
      onlyDirectories: arguments.contains("directories"), level: level ?? .max)
    if arguments.contains("json") {
      try drawing.printJSON(walk, root, name: path)
    } else {
      try drawing.print(walk, root, name: path)
    }
    try damage.finish()
  }
}

private final class TreeDrawing {
  private let volume: Volume
  private let damage: DamageReport
  private let showsHidden: Bool
  private let onlyDirectories: Bool
  private let level: Int
  private let output = ByteOutput()
  private var directories = 0
  private var files = 0

  init(
    volume: Volume, damage: DamageReport, showsHidden: Bool, onlyDirectories: Bool, level: Int
  ) {
    self.volume = volume
    self.damage = damage
    self.showsHidden = showsHidden
    self.onlyDirectories = onlyDirectories
    self.level = level
  }

  private func isShown(_ entry: WalkEntry) -> Bool {
    if entry.depth == 0 { return true }
    return (showsHidden || entry.name.first != UInt8(ascii: "."))
      && (!onlyDirectories || entry.isDirectory)
  }

  private func count(_ entry: WalkEntry) {
    guard entry.depth > 0 else { return }
    if entry.isDirectory { directories += 1 } else { files += 1 }
  }

  private func target(_ entry: WalkEntry) -> [UInt8]? {
    guard FileKind(entry.inode) == .symbolicLink else { return nil }
    do throws(VolumeError) {
      return try volume.readLink(entry.id)
    } catch {
      damage.add(entry.path, error.description)
      return nil
    }
  }

  func print(_ walk: TreeWalk, _ root: FileID, name: String) throws(CommandFailure) {
    // An entry is drawn when the next one at its level, or the end of its directory, is known.
    var lines: [WalkEntry] = []
    try walk.run(from: root) { (entry) throws(CommandFailure) in
      guard isShown(entry) else { return false }
      count(entry)
      lines.append(entry)
      return entry.depth < level
    }
    // The last entries of their directories, found from the end.
    var isLast = [Bool](repeating: false, count: lines.count)
    var closed: [Bool] = []
    for index in lines.indices.reversed() {
      let depth = lines[index].depth
      while closed.count <= depth { closed.append(true) }
      isLast[index] = closed[depth]
      closed[depth] = false
      for below in (depth + 1)..<max(closed.count, depth + 1) { closed[below] = true }
    }
    var bars: [Bool] = []
    for (index, entry) in lines.enumerated() {
      if entry.depth == 0 {
        try output.write(name: Array((name.isEmpty ? "/" : name).utf8))
      } else {
        while bars.count < entry.depth { bars.append(false) }
        for level in 1..<entry.depth { try output.write(bars[level] ? "\u{2502}   " : "    ") }
        try output.write(isLast[index] ? "\u{2514}\u{2500}\u{2500} " : "\u{251c}\u{2500}\u{2500} ")
        try output.write(name: entry.name)
        if let target = target(entry) {
          try output.write(" -> ")
          try output.write(name: target)
        }
        if entry.depth == bars.count { bars.append(false) }
        bars[entry.depth] = !isLast[index]
      }
      try output.write("\n")
    }
    try output.write(
      "\n\(directories) \(directories == 1 ? "directory" : "directories")"
        + (onlyDirectories ? "\n" : ", \(files) \(files == 1 ? "file" : "files")\n"))
    try output.flush()
  }

  /// Nested objects, written as they are found.
  func printJSON(_ walk: TreeWalk, _ root: FileID, name: String) throws(CommandFailure) {
    var open: [Int] = []
    var needsComma = false
    let close: (Int) throws(CommandFailure) -> Void = { [output] (depth) throws(CommandFailure) in
      while let last = open.last, last >= depth {
        open.removeLast()
        try output.write("]}")
        needsComma = true
      }
    }
    try walk.run(from: root) { (entry) throws(CommandFailure) in
      guard isShown(entry) else { return false }
      count(entry)
      try close(entry.depth)
      if needsComma { try output.write(",\n") }
      let shown = entry.depth == 0 ? Array(name.utf8) : entry.name
      let members =
        NameText.members("name", shown)
        + FileText.members(entry.attributes, target: target(entry))
      let text = JSONValue.object(members).text(indented: false)
      guard entry.isDirectory else {
        try output.write(text)
        needsComma = true
        return false
      }
      try output.write(text.dropLast().utf8)
      try output.write(",\"children\":[")
      open.append(entry.depth)
      needsComma = false
      return entry.depth < level
    }
    try close(0)
    try output.write("\n")
    try output.flush()
  }
}
