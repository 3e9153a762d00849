// SPDX-License-Identifier: GPL-2.0
// Labels of devices: a tree of names, written as paths like `ssd.fast`, that targets refer to.
//
// Invariants (of a valid section)
//   (1) Names are not empty, and differ among the living children of one parent.
//   (2) Devices refer to living groups only.
//   (3) Paths have at most 32 names: a chain of parents that is longer, or a circle, is invalid.
// Source: disk_groups.c.

/// One name in the tree of labels (`struct bch_disk_group`).
public struct DiskGroup: Hashable, Sendable {
  public enum Layout {
    /// 32 bytes.
    public static let label = 0
    public static let flags = LEField<UInt64>(32)
    public static let flags1 = LEField<UInt64>(40)
    public static let byteCount = 48

    public static let deleted = LEBits(flags, 0..<1)
    public static let dataAllowed = LEBits(flags, 1..<6)
    public static let parent = LEBits(flags, 6..<24)
  }

  public var label: DiskLabel
  public var flags: UInt64
  /// Not used yet.
  public var flags1: UInt64

  /// - Parameter parent: Index of the group it is part of.
  public init(label: DiskLabel, parent: Int?) {
    self.label = label
    flags = Layout.dataAllowed.setting(0, to: Layout.dataAllowed.max)
    flags1 = 0
    self.parent = parent
  }

  /// - Precondition: the span covers 48 bytes.
  init(decoding bytes: RawSpan) {
    label = DiskLabel(decoding: bytes, at: Layout.label)
    flags = bytes[Layout.flags]
    flags1 = bytes[Layout.flags1]
  }

  func encode() -> [UInt8] {
    var out = [UInt8](repeating: 0, count: Layout.byteCount)
    out.put(bytes: label.bytes, at: Layout.label)
    out.put(flags, Layout.flags)
    out.put(flags1, Layout.flags1)
    return out
  }

  public var isDeleted: Bool {
    get { Layout.deleted.get(flags) != 0 }
    set { flags = Layout.deleted.setting(flags, to: newValue ? 1 : 0) }
  }

  /// Index of the group it is part of, nil at the top.
  public var parent: Int? {
    get {
      let stored = Layout.parent.get(flags)
      return stored == 0 ? nil : Int(stored) - 1
    }
    set {
      let stored = newValue.map { UInt64(clamping: $0 + 1) } ?? 0
      flags = Layout.parent.setting(flags, to: min(stored, Layout.parent.max))
    }
  }
}

/// All labels of a volume's devices (`struct bch_sb_field_disk_groups`).
public struct DiskGroupsSection: SuperblockSectionContents {
  public static let type = SuperblockSectionType.diskGroups
  /// The longest path, in names.
  public static let maxDepth = 32

  public var groups: [DiskGroup]
  /// What is too short for another group.
  public let slack: [UInt8]

  public init(groups: [DiskGroup] = []) {
    self.groups = groups
    slack = []
  }

  public init(decoding bytes: RawSpan, deviceCount: Int) throws(FormatError) {
    (groups, slack) = Self.entries(
      bytes, from: SectionHeader.byteCount, size: DiskGroup.Layout.byteCount
    ) { DiskGroup(decoding: $0) }
  }

  public func encode() -> [UInt8] {
    Self.finishedSection(
      Self.blank(SectionHeader.byteCount) + groups.flatMap { $0.encode() } + slack)
  }

  public func validate(in superblock: Superblock, forWrite: Bool) throws(FormatError) {
    for member in superblock.members {
      guard let index = member.groupIndex else { continue }
      guard index < groups.count, !groups[index].isDeleted else {
        throw FormatError(
          .invalid, "bch_sb_field_disk_groups", "member.group", found: UInt64(index),
          expected: UInt64(groups.count))
      }
    }
    struct Name: Hashable {
      let parent: Int?
      let name: ArraySlice<UInt8>
    }
    var seen: Set<Name> = []
    for (index, group) in groups.enumerated() where !group.isDeleted {
      guard !group.label.isEmpty else {
        throw FormatError(
          .invalid, "bch_sb_field_disk_groups", "label", found: UInt64(index))
      }
      guard seen.insert(Name(parent: group.parent, name: group.label.name)).inserted else {
        throw FormatError(
          .duplicate, "bch_sb_field_disk_groups", "label", found: UInt64(index))
      }
    }
  }

  // MARK: Paths

  /// The path of a group as text, as in `ssd.fast`; nil when it, or one above it, is deleted or
  /// does not exist, or the chain is longer than 32 (`bch2_disk_path_to_text_sb`).
  public func path(of index: Int) -> String? {
    var names: [String] = []
    var next: Int? = index
    while let current = next {
      guard groups.indices.contains(current), !groups[current].isDeleted,
        names.count < Self.maxDepth
      else { return nil }
      names.append(groups[current].label.text)
      next = groups[current].parent
    }
    return names.reversed().joined(separator: ".")
  }

  /// The group with this path, nil when there is none (`bch2_disk_path_find`).
  public func index(ofPath path: some StringProtocol) -> Int? {
    var found: Int?
    for name in Self.names(of: path) {
      guard let index = child(named: name, of: found) else { return nil }
      found = index
    }
    return found
  }

  /// The group with this path; what is missing of it is made, in the place of deleted groups first
  /// (`bch2_disk_path_find_or_create`).
  ///
  /// - Throws: `.tooLarge` for a name of more than 32 bytes, `.invalid` for an empty path or name.
  public mutating func findOrCreate(path: some StringProtocol) throws(FormatError) -> Int {
    var parent: Int?
    for name in Self.names(of: path) {
      guard !name.isEmpty else { throw FormatError(.invalid, "bch_disk_group", "label") }
      let label = try DiskLabel(name)
      if let index = child(named: name, of: parent) {
        parent = index
        continue
      }
      let group = DiskGroup(label: label, parent: parent)
      if let free = groups.firstIndex(where: \.isDeleted) {
        groups[free] = group
        parent = free
      } else {
        groups.append(group)
        parent = groups.count - 1
      }
    }
    guard let parent else { throw FormatError(.invalid, "bch_disk_group", "label") }
    return parent
  }

  /// A dot at the end of a path adds no name.
  private static func names<Path: StringProtocol>(of path: Path) -> [Path.SubSequence] {
    var names = path.split(separator: ".", omittingEmptySubsequences: false)
    if names.count > 1, names.last?.isEmpty == true { names.removeLast() }
    return names
  }

  private func child(named name: some StringProtocol, of parent: Int?) -> Int? {
    groups.firstIndex {
      !$0.isDeleted && $0.parent == parent && !$0.label.isEmpty
        && $0.label.name.elementsEqual(name.utf8)
    }
  }

  /// Which members a group names: those whose label it is, or is part of it.
  public func members(of index: Int, among members: [Member]) -> [Int] {
    let groups = closure(of: index)
    return members.indices.filter { members[$0].groupIndex.map(groups.contains) ?? false }
  }

  /// The indices of a group and of all that are part of it: what a target means.
  public func closure(of index: Int) -> Set<Int> {
    Set(
      groups.indices.filter { candidate in
        var next: Int? = candidate
        for _ in 0..<Self.maxDepth {
          guard let current = next, groups.indices.contains(current), !groups[current].isDeleted
          else { return false }
          if current == index { return true }
          next = groups[current].parent
        }
        return false
      })
  }
}
