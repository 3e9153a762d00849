// SPDX-License-Identifier: GPL-2.0
// Checks of volumes that somebody made to do harm, or that are damaged in many places: each ends,
// says each thing once, and says the same however little memory it has.

internal import BcachefsFormat
internal import BcachefsSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct HostileCheckTests {
  private static let root = Positions.rootInode
  private static let regular: UInt8 = 8

  /// A volume with an empty root directory.
  private func make(_ change: (inout Inode) -> Void = { _ in }) throws -> HostileVolume {
    let hostile = try HostileVolume()
    hostile.addSubvolume(1, snapshot: HostileVolume.snapshot, root: Self.root)
    hostile.addDirectory(Self.root) {
      $0.subvolume = 1
      change(&$0)
    }
    return hostile
  }

  private func addFile(
    _ number: UInt64, to hostile: HostileVolume, _ change: (inout Inode) -> Void
  ) {
    var inode = Inode()
    inode.number = number
    inode.snapshot = HostileVolume.snapshot
    inode.mode = 0o100644
    change(&inode)
    hostile.addInode(inode)
  }

  /// What the passes over files find, an ID and the first lines each.
  private func findings(_ volume: Volume, memory: Int) throws -> [String] {
    var findings: [String] = []
    var events = CheckEvents()
    events.finding = { finding in
      guard CheckedFiles.passes.contains(finding.pass) else { return }
      let lines = finding.text.split(separator: "\n").prefix(2)
      findings.append("\(finding.id): \(lines.joined(separator: " "))")
    }
    var options = CheckOptions()
    options.memoryBytes = memory
    _ = try volume.check(options, events)
    return findings.sorted()
  }

  private func count(_ findings: [String], _ id: FsckErrorID) -> Int {
    findings.count { $0.hasPrefix("\(id): ") }
  }

  // MARK: - Circles

  /// Directories, each in the next one; the last is in the first or in the root.
  private func chain(_ count: UInt64, isCircle: Bool, isAscending: Bool) throws -> HostileVolume {
    let hostile = try make { $0.nlink = 1 }
    let first: UInt64 = 5000
    for index in 0..<count {
      let isLast = index == count - 1
      let parent = isLast ? (isCircle ? first : Self.root) : first + index + 1
      func number(_ plain: UInt64) -> UInt64 {
        plain == Self.root || isAscending ? plain : 2 * first + count - plain
      }
      hostile.addDirectory(number(first + index), in: number(parent), at: 10 + index) {
        $0.nlink = isCircle || index > 0 ? 1 : 0
      }
      try hostile.addName(
        "d", in: number(parent), at: 10 + index, .inode(number(first + index)))
    }
    return hostile
  }

  @Test(.timeLimit(.minutes(2)), arguments: [false, true], [0, 1 << 20])
  func longWaysUpAreWalked(isAscending: Bool, memory: Int) throws {
    let count: UInt64 = memory == 0 ? 200 : 700
    let hostile = try chain(count, isCircle: false, isAscending: isAscending)
    let found = try findings(try hostile.open(), memory: memory)
    #expect(self.count(found, .dir_loop) == 0)
    #expect(self.count(found, .inode_unreachable) == 0)
  }

  @Test(.timeLimit(.minutes(2)), arguments: [false, true])
  func aCircleIsToldOfOnce(isAscending: Bool) throws {
    let hostile = try chain(700, isCircle: true, isAscending: isAscending)
    let found = try findings(try hostile.open(), memory: 1 << 20)
    #expect(count(found, .dir_loop) == 1, "\(found.prefix(5))")
  }

  @Test(.timeLimit(.minutes(2)))
  func waysThatAreForgottenEndAllTheSame() throws {
    let hostile = try chain(200, isCircle: true, isAscending: true)
    let found = try findings(try hostile.open(), memory: 0)
    #expect(count(found, .dir_loop) > 0)
  }

  @Test(.timeLimit(.minutes(1)))
  func subvolumesInACircleAreToldOfOnce() throws {
    let hostile = try make()
    for id in 2...100 as ClosedRange<UInt32> {
      let root = 10_000 + UInt64(id)
      let snapshot = UInt32.max - id
      hostile.addSubvolume(id, snapshot: snapshot, root: root, parent: id == 100 ? 2 : id + 1)
      hostile.addDirectory(root, snapshot: snapshot) { $0.subvolume = id }
    }
    let found = try findings(try hostile.open(), memory: 1 << 20)
    #expect(count(found, .subvol_loop) == 1)
  }

  // MARK: - Numbers

  @Test(.timeLimit(.minutes(1)))
  func absurdNumbersAreNoTrap() throws {
    let hostile = try make { $0.nlink = .max }
    let top = UInt64.max - 1
    addFile(top, to: hostile) {
      $0.size = .max
      $0.sectors = .max
      $0.nlink = .max
      $0.directory = .max
      $0.directoryOffset = .max
      $0.parentSubvolume = .max
    }
    hostile.addDirectory(top - 1, in: top, at: top) {
      $0.subvolume = .max
      $0.parentSubvolume = .max
      $0.flags = .unlinked
    }
    try hostile.addName("a", in: Self.root, at: top, .inode(top), type: 255)
    try hostile.addName("b", in: top, at: top, .inode(top - 1))
    try hostile.addName(
      "c", in: Self.root, at: 12, .subvolume(child: .max, parent: .max),
      type: Dirent.subvolumeType)
    // A node's keys are not validated: sizes beyond their start, no name, half a value.
    try hostile.addLeaf(
      .extents,
      [
        HostileVolume.key(
          .extents, .reservation, BPos(top, 8, .max), size: .max,
          value: [UInt8](repeating: 0xff, count: 8)),
        HostileVolume.key(
          .extents, .reservation, BPos(top, .max, .max), size: .max,
          value: [UInt8](repeating: 0xff, count: 8)),
        HostileVolume.key(.extents, .extent, BPos(top, .max, 9), size: 0, value: []),
      ])
    try hostile.addLeaf(
      .xattrs, at: 5632,
      [
        HostileVolume.key(
          .xattrs, .xattr, BPos(top, 1, .max), value: [UInt8](repeating: 0xff, count: 8)),
        HostileVolume.key(.xattrs, .xattr, BPos(top, .max, .max), value: []),
        HostileVolume.key(.xattrs, .hashWhiteout, BPos(.max, 5, .max), value: []),
      ])
    hostile.add(.deletedInodes, .set, BPos(0, .max - 5, .max), value: [])
    hostile.add(.subvolumeChildren, .set, BPos(.max, .max - 1), value: [])
    for memory in [0, 1 << 20] {
      let found = try findings(try hostile.open(), memory: memory)
      #expect(count(found, .deleted_inode_missing) == 1)
      #expect(count(found, .subvol_children_bad) == 1)
      #expect(count(found, .dirent_to_missing_subvol) == 1)
    }
  }

  @Test(.timeLimit(.minutes(1)))
  func aLongRunOfNamesIsNotWalkedForEachOfThem() throws {
    let hostile = try make()
    addFile(5000, to: hostile) { $0.nlink = 899 }
    let hash = NameHash(type: .crc32c, seed: 0).dirent(Array("0".utf8).span)
    for index in 0..<900 as Range<UInt64> {
      try hostile.addName(
        "\(index)", in: Self.root, at: hash + index, .inode(5000), type: Self.regular)
    }
    let found = try findings(try hostile.open(), memory: 1 << 20)
    #expect(count(found, .hash_table_key_wrong_offset) > 0)
    #expect(count(found, .hash_table_key_duplicate) == 0)
  }

  // MARK: - Rounds

  /// Many files without names and with wrong counts, more than a table without memory holds.
  private func crowd(_ random: inout RandomSource) throws -> HostileVolume {
    let hostile = try make()
    for number in 5000..<5300 as Range<UInt64> {
      let names = random.next() % 4
      let claimed = random.next() % 3
      let isDirectory = random.next() % 5 == 0
      let place = number * 4
      addFile(number, to: hostile) {
        $0.nlink = isDirectory ? 0 : UInt32(claimed)
        if isDirectory { $0.mode = 0o40755 }
        // Some know one of their names, some one that is not there, some none.
        switch random.next() % 3 {
        case 0:
          $0.directory = Self.root
          $0.directoryOffset = place
        case 1:
          $0.directory = Self.root
          $0.directoryOffset = place + 3
        default: break
        }
        if random.next() % 7 == 0 { $0.flags = .unlinked }
        if $0.flags.contains(.unlinked) { $0.nlink = 0 }
      }
      for index in 0..<names {
        try hostile.addName(
          "\(number).\(index)", in: Self.root, at: place + index, .inode(number),
          type: isDirectory ? Dirent.directoryType : Self.regular)
      }
    }
    return hostile
  }

  @Test(.timeLimit(.minutes(2)), arguments: 1...4 as ClosedRange<UInt64>)
  func littleMemoryFindsTheSame(seed: UInt64) throws {
    var random = RandomSource(seed: seed)
    let volume = try crowd(&random).open()
    let whole = try findings(volume, memory: 1 << 30)
    #expect(count(whole, .inode_unreachable) > 16)
    #expect(count(whole, .inode_wrong_nlink) > 16)
    #expect(count(whole, .inode_multiple_links_but_nlink_0) > 4)
    // A directory with several names counts once; which of them is the one is known later.
    let counted = whole.filter { !$0.hasPrefix("\(FsckErrorID.inode_dir_wrong_nlink)") }
    for memory in [0, 1000] {
      let parts = try findings(volume, memory: memory)
        .filter { !$0.hasPrefix("\(FsckErrorID.inode_dir_wrong_nlink)") }
      let missing = Array(Set(counted).subtracting(parts)).prefix(3)
      let more = Array(Set(parts).subtracting(counted)).prefix(3)
      #expect(missing.isEmpty && more.isEmpty, "seed \(seed): missing \(missing), more \(more)")
      #expect(counted.count == parts.count, "seed \(seed)")
    }
  }
}
