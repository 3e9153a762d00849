// SPDX-License-Identifier: GPL-2.0
// What access control lists say: which mode they stand for, and how they follow it.
//
// Source: linux/posix_acl.c (posix_acl_valid, posix_acl_equiv_mode, posix_acl_create_masq,
// __posix_acl_chmod_masq), acl.c.

internal import BcachefsFormat
internal import BcachefsSupport

/// An access control list.
struct AccessControlList: Equatable {
  /// Whom an entry is about.
  enum Tag: UInt16 {
    case owner = 0x01
    case user = 0x02
    case group = 0x04
    case namedGroup = 0x08
    case mask = 0x10
    case other = 0x20

    var hasID: Bool { self == .user || self == .namedGroup }
  }

  struct Entry: Equatable {
    let tag: Tag
    var permissions: UInt16
    let id: UInt32
  }

  private(set) var entries: [Entry] = []

  /// The list as it stands on disk.
  ///
  /// - Returns: nil for bytes that are no list.
  init?(disk bytes: [UInt8]) {
    let span = bytes.rawBytes
    guard span.byteCount >= 4, span[LEField<UInt32>(0)] == 1 else { return nil }
    var at = 4
    while at < span.byteCount {
      guard span.byteCount - at >= 4, let tag = Tag(rawValue: span[LEField<UInt16>(at)]) else {
        return nil
      }
      let permissions = span[LEField<UInt16>(at + 2)]
      at += 4
      var id = UInt32.max
      if tag.hasID {
        guard span.byteCount - at >= 4 else { return nil }
        id = span[LEField<UInt32>(at)]
        at += 4
      }
      entries.append(Entry(tag: tag, permissions: permissions, id: id))
    }
  }

  /// The list as it stands on disk.
  var diskForm: [UInt8] {
    var words: [UInt16] = [1, 0]
    for entry in entries {
      words += [entry.tag.rawValue, entry.permissions]
      if entry.tag.hasID {
        words += [
          UInt16(truncatingIfNeeded: entry.id), UInt16(truncatingIfNeeded: entry.id >> 16),
        ]
      }
    }
    return words.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
  }

  /// Whether it is complete and in order: owner, users, group, groups, mask, others.
  var isValid: Bool {
    var expected: [Tag] = [.owner]
    var needsMask = false
    for entry in entries {
      guard entry.permissions <= 7, expected.contains(entry.tag) else { return false }
      switch entry.tag {
      case .owner: expected = [.user, .group]
      case .user:
        needsMask = true
        expected = [.user, .group]
      case .group: expected = [.namedGroup, .mask, .other]
      case .namedGroup:
        needsMask = true
        expected = [.namedGroup, .mask, .other]
      case .mask:
        needsMask = false
        expected = [.other]
      case .other: expected = []
      }
      guard !entry.tag.hasID || entry.id != .max else { return false }
    }
    return expected.isEmpty && !needsMask
  }

  /// Whether it says no more than a mode can.
  var isMode: Bool { entries.allSatisfy { !$0.tag.hasID && $0.tag != .mask } }

  /// A mode with the permissions that the list stands for.
  func mode(_ mode: UInt16) -> UInt16 {
    var result = mode & ~0o777
    let groupTag: Tag = entries.contains { $0.tag == .mask } ? .mask : .group
    for entry in entries {
      switch entry.tag {
      case .owner: result |= (entry.permissions & 7) << 6
      case groupTag: result |= (entry.permissions & 7) << 3
      case .other: result |= entry.permissions & 7
      default: break
      }
    }
    return result
  }

  /// The list for a file with this mode that had the list until now.
  mutating func follow(_ mode: UInt16) {
    let groupTag: Tag = entries.contains { $0.tag == .mask } ? .mask : .group
    for index in entries.indices {
      switch entries[index].tag {
      case .owner: entries[index].permissions = mode >> 6 & 7
      case groupTag: entries[index].permissions = mode >> 3 & 7
      case .other: entries[index].permissions = mode & 7
      default: break
      }
    }
  }

  /// Makes a directory's default list that of a new file: neither allows more than the other.
  ///
  /// - Returns: the file's mode.
  mutating func limit(to mode: UInt16) -> UInt16 {
    let groupTag: Tag = entries.contains { $0.tag == .mask } ? .mask : .group
    for index in entries.indices {
      switch entries[index].tag {
      case .owner: entries[index].permissions &= mode >> 6 & 7
      case groupTag: entries[index].permissions &= mode >> 3 & 7
      case .other: entries[index].permissions &= mode & 7
      default: break
      }
    }
    return self.mode(mode)
  }
}
