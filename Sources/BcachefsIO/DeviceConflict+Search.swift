// SPDX-License-Identifier: GPL-2.0
// Finding out who uses a device: what /proc and /sys tell.
//
// How it works
//   1. /proc/locks names process, device and inode of every lock on a file.
//   2. /sys/block/loop*/loop/backing_file names the file below a loop device; where that path does
//      not lead to the file from here (deleted, hard link, other mount namespace) the loop device
//      itself is asked for its inode.
//   3. /proc/self/mountinfo names what is mounted: by device number, or, as bcachefs and btrfs
//      mount under an anonymous number, by the source's path, which may list several with `:`.
//   4. /proc/swaps, and /sys/dev/block/N/holders for device-mapper and md.
// Invariants
//   (1) Only reads. What cannot be read is not reported: the locks decide, this only explains;
//      except for loop devices, which nothing else keeps away.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

extension DeviceConflict {
  /// Everybody who can be found using `path`.
  static func all(
    path: String, status: stat, ignoringOwnLocks: Bool = false
  ) -> [DeviceConflict] {
    if status.st_mode & S_IFMT == S_IFBLK {
      let devices = family(of: status.st_rdev)
      return mounts(of: devices) + swaps(among: devices) + holders(of: devices)
        + locksOnBackingFile(of: status.st_rdev)
    }
    let locks = lockHolders(of: status, ignoringOwnFlock: ignoringOwnLocks)
    return loopDevices(on: status)
      + (ignoringOwnLocks ? locks.filter { $0 != .locked(processID: nil, process: nil) } : locks)
  }

  // MARK: - Locks

  /// Holders of locks on a file, from lines as
  /// `3: FLOCK  ADVISORY  WRITE 1234 fd:01:123456 0 EOF`.
  static func lockHolders(
    of status: stat, ignoringOwnFlock: Bool = false
  ) -> [DeviceConflict] {
    let device =
      hex2(linux_device_major(status.st_dev)) + ":" + hex2(linux_device_minor(status.st_dev))
    let place = "\(device):\(status.st_ino)"
    var found: [DeviceConflict] = []
    for line in (SystemText.read("/proc/locks") ?? "").split(separator: "\n") {
      let words = line.split(separator: " ")
      // A waiter's line has `->` behind its number.
      guard words.count >= 6, words[1] != "->", words[5] == place else { continue }
      let processID = Int32(words[4]) ?? -1
      if ignoringOwnFlock && words[1] == "FLOCK" && processID == getpid() { continue }
      let conflict = holder(processID)
      if !found.contains(conflict) { found.append(conflict) }
    }
    // OFD locks have no owner's number: beside a named holder they are most likely the same one's.
    let unnamed = DeviceConflict.locked(processID: nil, process: nil)
    return found.count > 1 ? found.filter { $0 != unnamed } : found
  }

  /// 0 and -1 stand for processes of another namespace, and for locks that have no one owner.
  private static func holder(_ processID: Int32) -> DeviceConflict {
    guard processID > 0 else { return .locked(processID: nil, process: nil) }
    return .locked(processID: processID, process: SystemText.line("/proc/\(processID)/comm"))
  }

  private static func hex2(_ value: UInt32) -> String {
    let text = String(value, radix: 16)
    return text.count < 2 ? "0" + text : text
  }

  // MARK: - Loop devices

  /// Loop devices on the file with this status, each followed by where it is mounted.
  static func loopDevices(on status: stat) -> [DeviceConflict] {
    var found: [DeviceConflict] = []
    for name in SystemText.names(in: "/sys/block") ?? [] where name.hasPrefix("loop") {
      guard let path = SystemText.line("/sys/block/\(name)/loop/backing_file") else { continue }
      guard isBacking(status, path: path, loopDevice: "/dev/\(name)") else { continue }
      found.append(.loopDevice("/dev/\(name)"))
      if let loop = SystemText.status("/dev/\(name)") {
        found += mounts(of: family(of: loop.st_rdev))
      }
    }
    return found
  }

  private static func isBacking(_ status: stat, path: String, loopDevice: String) -> Bool {
    if let backing = SystemText.status(path), backing.st_ino == status.st_ino,
      backing.st_dev == status.st_dev
    {
      return true
    }
    let descriptor = unsafe open(loopDevice, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return false }
    defer { _ = close(descriptor) }
    var device: UInt64 = 0
    var inode: UInt64 = 0
    guard unsafe linux_loop_backing(descriptor, &device, &inode) == 0 else { return false }
    return device == UInt64(status.st_dev) && inode == UInt64(status.st_ino)
  }

  /// Locks on the file behind a loop device; empty for any other device.
  static func locksOnBackingFile(of device: dev_t) -> [DeviceConflict] {
    let link = "/sys/dev/block/\(SystemText.numbers(device))/loop/backing_file"
    guard let path = SystemText.line(link), let status = SystemText.status(path) else { return [] }
    return lockHolders(of: status)
  }

  // MARK: - Mounts, swap, device-mapper

  /// `MAJOR:MINOR` of a device and its partitions, with their paths below /dev.
  private static func family(of device: dev_t) -> [String: String] {
    let folder = "/sys/dev/block/\(SystemText.numbers(device))"
    var family = [SystemText.numbers(device): DeviceListing.path(ofFolder: folder) ?? "it"]
    for name in SystemText.names(in: folder) ?? [] {
      guard SystemText.line("\(folder)/\(name)/partition") != nil,
        let numbers = SystemText.line("\(folder)/\(name)/dev")
      else { continue }
      family[numbers] = DeviceListing.path(ofFolder: "\(folder)/\(name)") ?? name
    }
    return family
  }

  private static func mounts(of devices: [String: String]) -> [DeviceConflict] {
    var found: [DeviceConflict] = []
    for line in (SystemText.read("/proc/self/mountinfo") ?? "").split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count > 6, let dash = words.firstIndex(of: "-"), dash + 2 < words.count else {
        continue
      }
      let source = SystemText.unescaped(words[dash + 2])
      guard let device = devices[String(words[2])] ?? member(of: source, in: devices) else {
        continue
      }
      found.append(.mounted(device: device, path: SystemText.unescaped(words[4])))
    }
    return found
  }

  /// Which of `devices` the mount source `/dev/a:/dev/b` names.
  private static func member(of source: String, in devices: [String: String]) -> String? {
    guard source.hasPrefix("/") else { return nil }
    for part in source.split(separator: ":") {
      guard let status = SystemText.status(String(part)), status.st_mode & S_IFMT == S_IFBLK,
        let name = devices[SystemText.numbers(status.st_rdev)]
      else { continue }
      return name
    }
    return nil
  }

  private static func swaps(among devices: [String: String]) -> [DeviceConflict] {
    var found: [DeviceConflict] = []
    for line in (SystemText.read("/proc/swaps") ?? "").split(separator: "\n").dropFirst() {
      guard let path = line.split(separator: " ").first.map(SystemText.unescaped),
        let device = member(of: path, in: devices)
      else { continue }
      found.append(.swap(device: device))
    }
    return found
  }

  private static func holders(of devices: [String: String]) -> [DeviceConflict] {
    devices.keys.sorted().flatMap { numbers in
      (SystemText.names(in: "/sys/dev/block/\(numbers)/holders") ?? []).map { .held(by: $0) }
    }
  }
}

extension BlockDevice {
  /// Others who use the device, as far as they can be found; empty for a simulated one.
  ///
  /// For a device opened read-only this is a warning to give: what is read may change.
  public func conflicts() -> [DeviceConflict] {
    switch backEnd {
    case .descriptor(let file):
      var status = stat()
      guard unsafe fstat(file.descriptor, &status) == 0 else { return [] }
      return DeviceConflict.all(
        path: name, status: status, ignoringOwnLocks: mode == .exclusiveReadWrite)
    case .simulated: return []
    }
  }
}
