// SPDX-License-Identifier: GPL-2.0
// The exclusive lock of a device that is opened for writing.
//
// How it works
//   1. A block device was opened with O_EXCL: the kernel's own claim, nothing is left to do but to
//      see that it is not a loop device on a file that somebody locked.
//   2. A file is refused when it backs a loop device: whoever uses that knows nothing of our lock.
//   3. A file gets both kinds of lock, as programs look for one or the other: flock, whose owner
//      /proc/locks names, and a write lock of the open file description (OFD) over all of it,
//      which meets the POSIX locks of virtual machines and emulators.
// Invariants
//   (1) Both locks belong to the open file description: they go when the last descriptor goes,
//      whatever way the process ends.
//   (2) release() gives them back before the descriptor is closed: a child that another thread is
//       about to start has a copy of the descriptor for a moment, and would hold them that long.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

enum DeviceLock {
  /// Locks an open descriptor for exclusive writing, or names who is in the way.
  static func take(_ descriptor: Int32, status: stat, name: String) throws(DeviceError) {
    if status.st_mode & S_IFMT == S_IFBLK {
      let conflicts = DeviceConflict.locksOnBackingFile(of: status.st_rdev)
      if !conflicts.isEmpty { throw DeviceError(.lock, .inUse(conflicts), device: name) }
      return
    }
    let users = DeviceConflict.loopDevices(on: status)
    if !users.isEmpty { throw DeviceError(.lock, .inUse(users), device: name) }
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      if errno == EINTR { continue }
      guard errno == EWOULDBLOCK else { throw DeviceError(.lock, .system(errno), device: name) }
      throw DeviceError(.lock, .inUse(DeviceConflict.lockHolders(of: status)), device: name)
    }
    let number = linux_lock_whole_file(descriptor)
    guard number != 0 else { return }
    guard number == EAGAIN else { throw DeviceError(.lock, .system(number), device: name) }
    let holders = DeviceConflict.lockHolders(of: status, ignoringOwnFlock: true)
    throw DeviceError(.lock, .inUse(holders), device: name)
  }

  /// Gives the locks of a file back. Those of a block device go with its descriptor.
  static func release(_ descriptor: Int32) {
    _ = flock(descriptor, LOCK_UN)
    linux_unlock_whole_file(descriptor)
  }
}
