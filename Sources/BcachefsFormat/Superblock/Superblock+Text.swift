// SPDX-License-Identifier: GPL-2.0
// The superblock as `show-super` prints it: upstream's labels, order and columns.
//
// How it works
//   print(into:) writes the header's fields, the options, on request the layout, and the sections
//   that are asked for, in their order on disk. Each section's own text is in Section+Text.swift.
//   The tab stops of one section stay for the next, as upstream's do.
// Invariants
//   (1) Whatever the bytes were, the text has no control characters but tabs and newlines.
// Source: `bch2_sb_to_text`, super-io.c; `cmd_show_super`, c_src/cmd_format.c.

internal import BcachefsSupport

/// What of a superblock to print, and how.
public struct SuperblockTextStyle: Sendable {
  /// Which sections.
  public enum Sections: Sendable {
    case none
    case all
    case only([SuperblockSectionType])
    /// Members, newest list only, and findings: what `show-super` prints unless told otherwise.
    case usual
  }

  public var sections: Sections
  /// The places of the copies, too.
  public var layout: Bool
  /// Seconds that local time is ahead of UTC at a point in time, in seconds since 1970.
  public var localOffset: @Sendable (Int64) -> Int64

  public init(
    sections: Sections = .usual, layout: Bool = false,
    localOffset: @escaping @Sendable (Int64) -> Int64 = { _ in 0 }
  ) {
    self.sections = sections
    self.layout = layout
    self.localOffset = localOffset
  }

  func includes(_ type: SuperblockSectionType, of superblock: Superblock) -> Bool {
    switch sections {
    case .none: false
    case .all: true
    case .only(let types): types.contains(type)
    case .usual:
      type == .errors
        || type == (superblock.section(.membersV2) == nil ? .membersV1 : .membersV2)
    }
  }

  func date(_ seconds: UInt64) -> String {
    let seconds = Int64(clamping: seconds)
    return DateText.text(seconds: seconds, offset: localOffset(seconds))
  }
}

extension Superblock {
  /// The text of `show-super`.
  ///
  /// - Parameter device: What the first line says of the device (its model), if there is to be one.
  public func text(device: String? = nil, style: SuperblockTextStyle = .init()) -> String {
    var out = TextPrinter()
    out.addTabStop(44)
    if let device {
      out.print("Device:")
      out.tab()
      out.printRaw(device)
      out.newline()
    }
    print(into: &out, style: style)
    return out.text
  }

  /// The text of one section without a headline (`show-super --field-only`); empty when there is
  /// none of this type.
  public func text(
    ofSection type: SuperblockSectionType, style: SuperblockTextStyle = .init()
  ) -> String {
    var out = TextPrinter()
    out.addTabStop(32)
    section(type)?.contents?.print(into: &out, in: self, style: style)
    return out.text
  }

  /// Appends the whole text (`bch2_sb_to_text`).
  public func print(into out: inout TextPrinter, style: SuperblockTextStyle) {
    withReadDefaults().printAll(into: &out, style: style)
  }

  private func printAll(into out: inout TextPrinter, style: SuperblockTextStyle) {
    if out.tabStopCount == 0 { out.addTabStop(44) }
    printHeader(into: &out, style: style)
    out.newline()
    out.printLine("Options:")
    out.indent(2)
    printOptions(into: &out)
    out.outdent(2)
    if style.layout {
      out.newline()
      out.printLine("layout:")
      out.indent(2)
      layout.print(into: &out)
      out.outdent(2)
    }
    for section in sections where style.includes(section.type, of: self) {
      out.newline()
      printHeadline(of: section, into: &out)
      section.contents?.print(into: &out, in: self, style: style)
    }
  }

  private func printHeadline(of section: SuperblockSection, into out: inout TextPrinter) {
    let name = section.type.name.map { "\($0)" } ?? "(unknown field \(section.type.rawValue))"
    out.printLine("\(name) (size \(section.encode().count)):")
  }

  private func printHeader(into out: inout TextPrinter, style: SuperblockTextStyle) {
    let upgraded = MetadataVersion(
      rawValue: UInt16(truncatingIfNeeded: self[Layout.versionUpgradeComplete]))
    let created =
      timeBaseLow == 0 ? "(not set)" : style.date(timeBaseLow / 1_000_000_000)
    out.printLine("External UUID:\t\(userUUID)")
    out.printLine("Internal UUID:\t\(uuid)")
    out.printLine("Magic number:\t\(magic)")
    out.printLine("Device index:\t\(deviceIndex)")
    out.printLine("Label:\t\(label.isEmpty ? "(none)" : SafeText.text(label.name))")
    out.printLine("Version:\t\(version)")
    if version.isNewerThanNative { printIncompatibleVersions(into: &out) }
    out.printLine("Version upgrade complete:\t\(upgraded)")
    out.printLine("Oldest version on disk:\t\(versionMin)")
    out.printLine("Created:\t\(created)")
    out.printLine("Sequence number:\t\(seq)")
    out.printLine("Time of last write:\t\(style.date(writeTime))")
    out.printLine(
      "Superblock size:\t\(HumanSize.text(UInt64(byteCount)))/"
        + HumanSize.text(UInt64(layout.maxByteCount)))
    out.printLine("Clean:\t\(self[Layout.clean])")
    out.printLine("Devices:\t\(aliveDeviceCount)")
    let types = Set(sections.map(\.type)).sorted { $0.rawValue < $1.rawValue }
    out.printLine("Sections:\t\(types.map(\.description).joined(separator: ","))")
    out.printLine("Features:\t\(featureMask)")
    out.printLine("Compat features:\t\(compatMask)")
  }

  /// What formats above 1.13 say besides; newer tools print it in this place.
  private func printIncompatibleVersions(into out: inout TextPrinter) {
    for (label, bits) in [
      ("Incompatible features allowed", Layout.versionIncompatAllowed),
      ("Incompatible features in use", Layout.versionIncompat),
    ] {
      let version = MetadataVersion(rawValue: UInt16(truncatingIfNeeded: self[bits]))
      out.printLine("\(label):\t\(version)")
    }
  }

  /// Size on disk, header included.
  public var byteCount: Int {
    sections.reduce(Layout.byteCount) { $0 + $1.encode().count }
  }

  private func printOptions(into out: inout TextPrinter) {
    let words = optionWords
    for option in VolumeOption.allCases {
      guard let value = words.value(of: option) else { continue }
      out.printLine("\(option):\t\(optionText(option, value))")
    }
  }

  private func optionText(_ option: VolumeOption, _ value: UInt64) -> String {
    if case .choice = option.row.kind, value < UInt64(option.choices.count) {
      // Every choice is followed by a space, the last one too.
      return option.fullListText(value) + " "
    }
    return option.text(value, targets: { targetText($0) })
  }

  /// A target with the names that this superblock has for devices and labels
  /// (`bch2_target_to_text_sb`).
  public func targetText(_ target: DiskTarget) -> String {
    switch target.kind {
    case .none: return "none"
    case .device(let index):
      guard let member = member(at: Int(index)), member.isAlive else {
        return "Bad device \(index)"
      }
      return "Device \(member.uuid) (\(index))"
    case .label(let index):
      let path = section(of: DiskGroupsSection.self)?.path(of: index)
      return path.map { SafeText.text($0.utf8) } ?? "invalid label \(index)"
    }
  }

  /// The target that a name means: `none`, a label's path; nil for other names.
  public func target(named name: String) -> DiskTarget? {
    if name.isEmpty || name == "none" { return DiskTarget.none }
    return section(of: DiskGroupsSection.self)?.index(ofPath: name).flatMap { DiskTarget.label($0) }
  }
}

extension SuperblockLayout {
  /// - Source: `bch2_sb_layout_to_text`, super-io.c.
  func print(into out: inout TextPrinter) {
    out.printLine("Type:                    \(layoutType)")
    out.printLine("Superblock max size:     \(HumanSize.text(UInt64(maxByteCount)))")
    out.printLine("Nr superblocks:          \(superblockCount)")
    let sectors = copySectors.map { "\($0)" }.joined(separator: ", ")
    out.printLine("Offsets:                 \(sectors)")
  }
}
