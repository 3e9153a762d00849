// SPDX-License-Identifier: GPL-2.0
// Extended attributes, and the places of all that stands in a btree by the hash of its name.
//
// How it works
//   A name stands at its hash, or behind it if there is no hole between: then every lookup finds
//   it. Most stand at their hash, which is all that is computed for them. For the others the places
//   from the hash on are walked as the key's snapshot sees them.
// Invariants
//   (1) No more than `probesMax` places are walked for one key: beyond, no hole is looked for. A
//       sound volume has runs of two or three.
// Source: fsck.c (bch2_check_xattrs, hash_check_key).

internal import BcachefsFormat
internal import BcachefsSupport

extension VolumeCheck {
  private static let probesMax = 256

  func checkXattrs() throws(VolumeError) {
    var seen = KeysSeen()
    var owner = InodeVersions()
    var hash: NameHash?
    try forEachKey(of: .xattrs, from: BPos(Positions.rootInode, 0, 0)) {
      (found) throws(VolumeError) in
      let position = found.key.position
      guard let place = existingPlace(of: found),
        seen.add(position.inode, position.offset, place)
      else { return }
      if owner.number != found.key.position.inode { hash = nil }
      guard let index = self.owner(of: found, place, in: &owner, isExpected: { _ in true }) else {
        return
      }
      let own = hash ?? NameHash(owner.versions[index].inode)
      hash = own
      _ = hasRightPlace(found, own)
    }
  }

  /// Whether a name stands where a lookup finds it, and is the only one of its kind.
  ///
  /// - Returns: False for a second key of the same name, which upstream deletes.
  func hasRightPlace(_ found: KeyReference, _ hash: NameHash) -> Bool {
    let position = found.key.position
    guard let wanted = nameHash(of: found, hash), wanted != position.offset else { return true }
    guard wanted < position.offset else {
      reportPlace(found, wanted)
      return true
    }
    var cursor = SnapshotCursor(
      forest, btree(of: found), snapshot: place(of: position.snapshot)?.id ?? position.snapshot,
      table: volume.snapshots)
    cursor.seek(position.inode, wanted)
    var place = wanted
    for _ in 0..<Self.probesMax {
      guard let other = cursor.nextReadable(), other.key.position.offset == place else {
        reportPlace(found, wanted)
        return true
      }
      if place == position.offset { return true }
      if isSameName(other, found) { return reportTwin(found, other) }
      place += 1
    }
    return true
  }

  private func btree(of found: KeyReference) -> BTreeID {
    found.key.type == .xattr ? .xattrs : .dirents
  }

  /// nil for a key that is no name, or cannot be decoded.
  private func nameHash(of found: KeyReference, _ hash: NameHash) -> UInt64? {
    found.withValue { value in
      switch found.key.type {
      case .dirent:
        guard let dirent = try? Dirent(decoding: value), dirent.name.byteCount > 0 else {
          return nil
        }
        return hash.dirent(dirent.lookupName)
      case .xattr:
        guard let xattr = try? Xattr(decoding: value) else { return nil }
        return hash.xattr(type: xattr.type, xattr.name)
      default: return nil
      }
    }
  }

  private func isSameName(_ one: KeyReference, _ other: KeyReference) -> Bool {
    guard one.key.type == other.key.type else { return false }
    return Self.name(of: one) == Self.name(of: other)
  }

  private static func name(of found: KeyReference) -> [UInt8]? {
    found.withValue { value in
      if found.key.type == .dirent { return (try? Dirent(decoding: value))?.name.copiedBytes }
      guard let xattr = try? Xattr(decoding: value) else { return nil }
      return [xattr.type] + xattr.name.copiedBytes
    }
  }

  private func reportPlace(_ found: KeyReference, _ wanted: UInt64) {
    let position = found.key.position
    report(
      .hash_table_key_wrong_offset,
      "hash table key at wrong offset: btree \(btree(of: found)) inode \(position.inode) offset "
        + "\(position.offset), hashed to \(wanted)\n  \(text(found))")
  }

  /// Says that two keys have the same name.
  ///
  /// - Returns: Whether the later one stays.
  private func reportTwin(_ found: KeyReference, _ other: KeyReference) -> Bool {
    var stays = false
    var areBothValid = false
    let isCopy = found.withValue { value in
      other.withValue { $0.byteCount == value.byteCount && $0.elementsEqual(value.copiedBytes) }
    }
    if !isCopy, let own = DirentLink(found), hasTarget(own, found) {
      stays = true
      areBothValid = DirentLink(other).map { hasTarget($0, other) } ?? false
    }
    report(
      .hash_table_key_duplicate,
      "duplicate hash table keys\(areBothValid ? ", both point to valid inodes" : ""):\n"
        + "\(text(found))\n\(text(other))")
    return stays
  }

  private func hasTarget(_ link: DirentLink, _ found: KeyReference) -> Bool {
    link.type == Dirent.subvolumeType
      ? subvolume(link.childSubvolume) != nil
      : inode(link.number, in: found.key.position.snapshot) != nil
  }
}
