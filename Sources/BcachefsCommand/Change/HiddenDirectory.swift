// SPDX-License-Identifier: GPL-2.0
// A directory under a name that nobody looks for, in which a tree grows until it is whole.
//
// How it works
//   1. It is made in the directory where the tree is to be, so that it has the options it will have
//      there, and can be renamed.
//   2. It ends with its name: the tree gets its own one in one transaction, or goes into a
//      directory that is there (TreeMerge), or is removed.
// Invariants
//   (1) Until it is published nothing that was there before has changed.
//   (2) A process that is killed leaves the directory behind, whole or not, with a name that says
//       what it is: `rm -r` removes it.

internal import Bcachefs
internal import BcachefsFormat

struct HiddenDirectory {
  static let prefix = ".bcachefs-unfinished-"

  private let system: FileSystem
  let id: FileID
  let parent: FileID
  private let name: [UInt8]

  /// Makes one.
  init(in parent: FileID, of system: FileSystem) throws(VolumeError) {
    self.system = system
    self.parent = parent
    let number = UInt64.random(in: .min ... .max)
    name = Array((Self.prefix + String(number, radix: 16)).utf8)
    id = try system.create(name, in: parent, FileCreation(.directory, permissions: 0o700)).id
    // What is made in it gets its own lists, and no others.
    try system.removeList(NewAttributes.defaultList, of: id)
    try system.removeList(NewAttributes.accessList, of: id)
  }

  /// Gives it its name.
  ///
  /// - Throws: `.exists`; what renaming throws.
  func publish(as name: [UInt8]) throws(VolumeError) {
    try system.rename(self.name, in: parent, to: name, in: parent, .noReplace)
  }

  /// Gives something in it its name, in the directory that this one is in.
  func publish(_ inner: [UInt8], as name: [UInt8]) throws(VolumeError) {
    try system.rename(inner, in: id, to: name, in: parent, .noReplace)
  }

  /// Removes it with all that is in it, also when somebody asked for an end.
  func remove() throws(CommandFailure) {
    try SystemWalk(system: system, mayBeInterrupted: false).removeAll(below: id, path: name)
    do throws(VolumeError) {
      try system.removeDirectory(name, in: parent)
    } catch {
      throw CommandFailure(error, at: name)
    }
  }
}
