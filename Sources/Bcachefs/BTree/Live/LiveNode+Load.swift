// SPDX-License-Identifier: GPL-2.0
// From a node as it was read to one that can change.
//
// Invariants
//   (1) Only keys that pass the validation of their type get in.
//   (2) Addresses that stand on disk where this process keeps those of children are erased.

internal import BcachefsFormat
internal import BcachefsSupport

extension LiveNode {
  /// Takes over what was decoded.
  ///
  /// - Precondition: write-locked, and no longer known under another identity.
  /// - Throws: `.corrupt` for keys that must not be there. The node is empty then.
  func load(
    _ node: BTreeNode, _ pointer: NodePointer, blockBytes: Int, _ context: BKeyContext
  ) throws(VolumeError) {
    btree = node.btree
    level = node.level
    minKey = node.minKey
    maxKey = node.maxKey
    sequence = pointer.sequence
    journalSequence = 0
    self.pointer = pointer
    reset(words: node.image.byteCount / 8, expectedKeys: node.entries.count)
    setFormat(node.format)
    let written = pointer.sectorsWritten * 512
    // Where the end is not known, or cannot be appended to, the node counts as full.
    writtenBytes = written > 0 && written % blockBytes == 0 ? min(written, nodeBytes) : nodeBytes
    let image = node.image
    do throws(FormatError) {
      for index in node.entries.indices {
        let entry = node.entries[index]
        let found = node.reference(at: index)
        try found.withValue { (value) throws(FormatError) in
          try BKeyValue.validate(
            key: found.key, value: value, btree: btree, level: level, context: context)
        }
        appendRecord(image.bytes, at: Int(entry.imageOffset), entry.position)
      }
    } catch {
      reset(words: 0, expectedKeys: 0)
      throw VolumeError(error)
    }
    expensiveCheck { check() }
  }
}
