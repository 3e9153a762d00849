// SPDX-License-Identifier: GPL-2.0
// Programs that show a tree as a mount, and mounts by them for one measurement.

#if canImport(Glibc)
internal import Glibc
#endif

/// A program that mounts.
struct MountContender {
  let name: String
  /// Makes what is mounted; empty where there is nothing to make.
  var preparation: [String] = []
  /// A file of so many bytes that must be there before.
  var imageBytes: Int?
  var image = ""
  /// Mounts, and ends once it is done, or goes on in the background.
  let command: [String]

  /// All of them. What is not installed is left out when it does not run.
  static func all(tree: String, folder: String, mount: String, treeBytes: Int) -> [MountContender] {
    var result = [("bcachefs", []), ("bcachefs, unchecked", ["--data_checksum=none"])].map {
      (name: String, options: [String]) in
      let image = "\(folder)/b\(options.count).img"
      return MountContender(
        name: name,
        preparation: [Program.bcachefs, "image", "create", "--quiet", "--source=\(tree)"] + options
          + [image],
        command: [Program.bcachefs, "mount", "-o", "ro", image, mount])
    }
    if let passthrough = Program.environment("BENCH_PASSTHROUGH") {
      result.append(
        MountContender(
          name: "passthrough_ll",
          command: [
            passthrough, "-o", "source=\(tree),cache=always,no_writeback,no_xattr", mount,
          ]))
    }
    return result + [
      MountContender(
        name: "squashfuse_ll",
        preparation: [
          "mksquashfs", tree, "\(folder)/s.img", "-quiet", "-no-progress", "-noI", "-noD", "-noF",
          "-noX",
        ], command: ["squashfuse_ll", "\(folder)/s.img", mount]),
      MountContender(
        name: "fuse2fs", preparation: ["mke2fs", "-q", "-F", "-d", tree, "\(folder)/e.img"],
        imageBytes: 2 * treeBytes + 64 << 20, image: "\(folder)/e.img",
        command: ["fuse2fs", "-o", "ro", "\(folder)/e.img", mount]),
    ]
  }

  /// - Returns: false if its program is not there or failed.
  func prepare() -> Bool {
    if let imageBytes {
      let descriptor = unsafe open(image, O_CREAT | O_WRONLY, 0o600)
      _ = ftruncate(descriptor, imageBytes)
      _ = close(descriptor)
    }
    return preparation.isEmpty || Program.run(preparation) != nil
  }

  /// Runs `body` while it is mounted; nil if it does not mount, or `body` fails.
  func withMount<Value>(at mount: String, _ body: () -> Value?) -> Value? {
    let before = Self.device(of: mount)
    guard Program.run(command) != nil else { return nil }
    defer {
      if Program.run(["fusermount3", "-u", mount]) == nil { _ = Program.run(["umount", mount]) }
      Self.waitUntil { Self.device(of: mount) == before }
    }
    Self.waitUntil { Self.device(of: mount) != before }
    Self.setReadAhead(of: mount)
    return body()
  }

  /// The most memory that the program had which serves a mount, in MiB; nil where the kernel does.
  static func peakMemory(ofServing mount: String) -> Int? {
    guard let processes = unsafe opendir("/proc") else { return nil }
    defer { _ = unsafe closedir(processes) }
    while let entry = unsafe readdir(processes) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { name in
        unsafe String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard name.allSatisfy(\.isNumber), let words = Program.contents(of: "/proc/\(name)/cmdline"),
        words.split(separator: "\0").last == Substring(mount),
        let status = Program.contents(of: "/proc/\(name)/status"),
        let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
        let kib = line.split(whereSeparator: { !$0.isNumber }).first.flatMap({ Int($0) })
      else { continue }
      return kib / 1024
    }
    return nil
  }

  /// The same for all: by default the kernel reads 128 KiB ahead, and some set it themselves.
  static let readAheadKiB = 1024

  private static func setReadAhead(of mount: String) {
    let device = device(of: mount)
    let path = "/sys/class/bdi/\(device >> 8 & 0xfff):\(device & 0xff)/read_ahead_kb"
    guard let file = unsafe fopen(path, "we") else { return }
    _ = unsafe fputs("\(readAheadKiB)", file)
    _ = unsafe fclose(file)
  }

  private static func device(of path: String) -> UInt {
    var status = stat()
    return unsafe stat(path, &status) == 0 ? status.st_dev : 0
  }

  private static func waitUntil(_ condition: () -> Bool) {
    for _ in 0..<1000 where !condition() { usleep(5000) }
  }
}
