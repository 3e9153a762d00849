// SPDX-License-Identifier: GPL-2.0
// How far the kernel reads ahead on a mount. It is a setting of the mount's backing device, which
// only root may change; a mount that may not reads in smaller pieces.

internal import CFUSE
internal import Glibc

enum ReadAhead {
  /// Sets what the kernel reads ahead on the mount at `directory`, if it lets us.
  static func raise(for directory: String, toBytes byteCount: Int) {
    // Not by stat(2), which would ask the mount.
    guard let mount = MountEntry.at(directory) else { return }
    write("\(byteCount >> 10)", to: "/sys/class/bdi/\(mount.device)/read_ahead_kb")
  }

  private static func write(_ text: String, to path: String) {
    guard let file = unsafe fopen(path, "we") else { return }
    _ = unsafe fputs(text, file)
    _ = unsafe fclose(file)
  }
}
