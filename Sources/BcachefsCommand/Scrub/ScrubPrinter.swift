// SPDX-License-Identifier: GPL-2.0
// What a scrub says: findings as they come, a line of progress, a table and JSON at the end.
//
// Invariants
//   (1) Nothing but results goes to standard output; the line of progress is wiped before anything.
// Locks: `line`, taken without waiting by threads that read; a leaf.

internal import Bcachefs
internal import BcachefsFormat
internal import Synchronization

final class ScrubPrinter: Sendable {
  private let volume: Volume
  private let options: ScrubOptions
  private let isJSON: Bool
  private let isShown: Bool
  private let totalBytes: UInt64
  private let start = ContinuousClock.now
  private let line = Mutex<Line>(Line())

  private struct Line {
    var drawn: ContinuousClock.Instant?
    var columns = 0
    /// Bytes that were checked before this run.
    var first: UInt64?
  }

  init(volume: Volume, options: ScrubOptions, isJSON: Bool, showsProgress: Bool) {
    self.volume = volume
    self.options = options
    self.isJSON = isJSON
    isShown = showsProgress && Terminal.errorIsTerminal
    totalBytes = volume.bytesToScrub(options)
  }

  // MARK: - Progress

  func show(_ progress: ScrubProgress) {
    guard isShown else { return }
    _ = line.withLockIfAvailable { line in
      let now = ContinuousClock.now
      let first = line.first ?? progress.checkedBytes
      line.first = first
      if let drawn = line.drawn, now - drawn < .milliseconds(200) { return }
      line.drawn = now
      let seconds = ProgressBar.seconds(now - start)
      draw(Self.text(progress, since: first, seconds: seconds), &line)
    }
  }

  /// `45%  1.20 TiB of 2.67 TiB  extents  180 MiB/s  2:21:07 left`
  static func text(_ progress: ScrubProgress, since first: UInt64, seconds: Double) -> String {
    // Without accounting nobody knows how much there is.
    let isKnown = progress.totalBytes > 0
    let total = max(progress.totalBytes, progress.checkedBytes, 1)
    let fraction = Double(progress.checkedBytes) / Double(total)
    var text = isKnown ? "\(Int(fraction * 100))%  " : ""
    text += HumanSize.text(progress.checkedBytes)
    if isKnown { text += " of \(HumanSize.text(total))" }
    text += "  \(name(progress.phase))"
    let done = progress.checkedBytes - min(first, progress.checkedBytes)
    guard seconds > 0.5, done > 0 else { return text }
    let rate = Double(done) / seconds
    text += "  \(HumanSize.text(UInt64(rate)))/s"
    guard isKnown else { return text }
    return text + "  \(clock(Double(total - progress.checkedBytes) / rate)) left"
  }

  private static func name(_ phase: ScrubPhase) -> String {
    switch phase {
    case .superblocks: "superblocks"
    case .journal: "journal"
    case .nodes: "btree nodes"
    case .extents: "extents"
    case .indirectExtents: "indirect extents"
    case .stripes: "stripes"
    case .names: "names of files"
    case .done: "done"
    }
  }

  private static func clock(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 3_599_999))
    let (minutes, rest) = ((whole / 60) % 60, whole % 60)
    let tail = "\(minutes < 10 ? "0" : "")\(minutes):\(rest < 10 ? "0" : "")\(rest)"
    return "\(whole / 3600):\(tail)"
  }

  private func draw(_ text: String, _ line: inout Line) {
    let shown = String(text.prefix(max(Terminal.columns - 1, 20)))
    let padding = String(repeating: " ", count: max(line.columns - shown.count, 0))
    Output.writeToError("\r\(shown)\(padding)")
    line.columns = shown.count
  }

  private func wipe() {
    line.withLock { line in
      guard line.columns > 0 else { return }
      Output.writeToError("\r" + String(repeating: " ", count: line.columns) + "\r")
      line.columns = 0
    }
  }

  // MARK: - Findings

  func remark(_ text: String) {
    wipe()
    Output.remark(ScrubCommand.spec.name, text)
  }

  func show(_ finding: ScrubFinding) {
    guard !isJSON else { return }
    wipe()
    Output.write(text(of: finding))
  }

  /// What is damaged, then a line a bad copy and a line a file.
  private func text(of finding: ScrubFinding) -> String {
    var text = "\(finding.outcome.rawValue): \(Self.subject(finding))"
    if !finding.note.isEmpty { text += ": \(finding.note)" }
    text += "\n"
    for copy in finding.copies {
      text += "  \(copy.isCached ? "cached copy" : "copy") on \(name(copy.device))"
      if copy.sectorCount > 0 {
        text += " at byte \(copy.sector * 512), \(UInt64(copy.sectorCount) * 512) bytes"
      }
      text += ": \(copy.problem)\n"
    }
    for file in finding.files { text += "  in \(Self.text(of: file))\n" }
    return text
  }

  private static func subject(_ finding: ScrubFinding) -> String {
    switch finding.kind {
    case .superblock: "superblock"
    case .journal: "journal"
    case .node:
      "node of btree \(finding.btree.map { "\($0)" } ?? "?"), level \(finding.level), from "
        + "\(finding.start) to \(finding.end)"
    case .extent: "extent \(finding.start) to \(finding.end)"
    case .indirectExtent:
      "indirect extent \(finding.start.offset) to \(finding.end.offset)"
    case .stripe: "stripe \(finding.end.offset)"
    }
  }

  private static func text(of file: ScrubFile) -> String {
    let path =
      file.path.map { "/" + SafeText.text($0) }
      ?? "inode \(file.id.inode) of subvolume \(file.id.subvolume), of no known name"
    return "\(path), bytes \(file.range.lowerBound) to \(file.range.upperBound)"
  }

  private func name(_ device: UInt8) -> String {
    volume.deviceName(device) ?? "device \(device)"
  }

  // MARK: - The end

  func finish(_ state: ScrubState) {
    wipe()
    if isJSON {
      Output.write(json(state))
      return
    }
    showNamedLater(state)
    let out = ColumnText()
    out.stops = [24, 38, 52, 66, 80]
    out.put("device").tab()
    for title in ["checked", "harmless", "repairable", "lost"] { out.put(title).tabRight() }
    out.newline()
    for (index, counts) in state.devices.enumerated() where isListed(index, counts) {
      out.put(name(UInt8(clamping: index))).tab()
      for sectors in [
        counts.checkedSectors, counts.harmlessSectors, counts.repairableSectors,
        counts.lostSectors,
      ] {
        out.put(HumanSize.text(ScrubState.byteCount(ofSectors: sectors))).tabRight()
      }
      out.newline()
      if counts.missingCopies > 0 {
        out.put("  \(counts.missingCopies) copies are out of reach: the device is missing")
        out.newline()
      }
    }
    Output.write(out.text)
  }

  /// Files that were named only after everything had been read.
  private func showNamedLater(_ state: ScrubState) {
    guard state.isFinished else { return }
    for finding in state.findings where finding.kind == .indirectExtent && !finding.files.isEmpty {
      var text = "\(Self.subject(finding)) is used by\n"
      for file in finding.files { text += "  \(Self.text(of: file))\n" }
      Output.write(text)
    }
  }

  private func isListed(_ index: Int, _ counts: ScrubDeviceCounts) -> Bool {
    if let device = options.device { return Int(device) == index }
    return volume.deviceName(UInt8(clamping: index)) != nil || counts != ScrubDeviceCounts()
  }

  private func json(_ state: ScrubState) -> JSONValue {
    let devices = state.devices.enumerated().filter { isListed($0.offset, $0.element) }
    return .object([
      .init("uuid", .string("\(volume.superblock.userUUID)")),
      .init("finished", .bool(state.isFinished)),
      .init("checked_bytes", .integer(ScrubState.byteCount(ofSectors: state.checkedSectors))),
      .init("total_bytes", .integer(totalBytes)),
      .init("harmless", .integer(state.harmlessCount)),
      .init("repairable", .integer(state.repairableCount)),
      .init("lost", .integer(state.lostCount)),
      .init("devices", .array(devices.map { json($0.offset, $0.element) })),
      .init("findings", .array(state.findings.map(json))),
      .init("findings_left_out", .integer(state.findingCount - UInt64(state.findings.count))),
    ])
  }

  private func json(_ index: Int, _ counts: ScrubDeviceCounts) -> JSONValue {
    let device = volume.deviceName(UInt8(clamping: index))
    return .object([
      .init("index", .integer(UInt64(index))),
      .init("name", device.map { .string($0) } ?? .null),
      .init("btree_bytes", .integer(ScrubState.byteCount(ofSectors: counts.metadataSectors))),
      .init("user_bytes", .integer(ScrubState.byteCount(ofSectors: counts.dataSectors))),
      .init("cached_bytes", .integer(ScrubState.byteCount(ofSectors: counts.cachedSectors))),
      .init("parity_bytes", .integer(ScrubState.byteCount(ofSectors: counts.paritySectors))),
      .init("harmless_bytes", .integer(ScrubState.byteCount(ofSectors: counts.harmlessSectors))),
      .init(
        "repairable_bytes", .integer(ScrubState.byteCount(ofSectors: counts.repairableSectors))),
      .init("lost_bytes", .integer(ScrubState.byteCount(ofSectors: counts.lostSectors))),
      .init("missing_copies", .integer(counts.missingCopies)),
    ])
  }

  private func json(_ finding: ScrubFinding) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("kind", .string(finding.kind.rawValue)),
      .init("outcome", .string(finding.outcome.rawValue)),
    ]
    if let btree = finding.btree { members.append(.init("btree", .string("\(btree)"))) }
    if finding.kind == .node { members.append(.init("level", .integer(UInt64(finding.level)))) }
    if finding.kind != .superblock && finding.kind != .journal {
      members.append(.init("start", .string("\(finding.start)")))
      members.append(.init("end", .string("\(finding.end)")))
    }
    if !finding.note.isEmpty { members.append(.init("note", .string(finding.note))) }
    members.append(.init("copies", .array(finding.copies.map(json))))
    members.append(.init("files", .array(finding.files.map(json))))
    return .object(members)
  }

  private func json(_ copy: ScrubFinding.BadCopy) -> JSONValue {
    .object([
      .init("device", .number(copy.device)),
      .init("name", .string(name(copy.device))),
      .init("offset", .integer(copy.sector * 512)),
      .init("bytes", .integer(UInt64(copy.sectorCount) * 512)),
      .init("cached", .bool(copy.isCached)),
      .init("problem", .string(copy.problem)),
    ])
  }

  private func json(_ file: ScrubFile) -> JSONValue {
    var members: [JSONValue.Member] = []
    if let path = file.path { members += NameText.members("path", [0x2f] + path) }
    members.append(.init("subvolume", .number(file.id.subvolume)))
    members.append(.init("inode", .integer(file.id.inode)))
    members.append(.init("start", .integer(file.range.lowerBound)))
    members.append(.init("end", .integer(file.range.upperBound)))
    return .object(members)
  }
}
