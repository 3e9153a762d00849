// SPDX-License-Identifier: GPL-2.0
// The program of `make bench`; `usage` says how to call it.

#if canImport(Glibc)
internal import Glibc
#endif

/// What the command line asks for.
struct BenchOptions {
  /// Tiny sizes, one run: only whether everything still works.
  var isSmoke = false
  /// Size of a piece of data in bytes, a multiple of 4096.
  var bytes = 128 << 10
  var runs = 9
  /// Files of the tree that images are built from, and about how many bytes they have.
  var treeFiles = 20_000
  var treeBytes: Int { treeFiles * 10_000 }
  /// Keys of the btree that lookups are measured in.
  var keyCount = 1_000_000
  /// Only measurements whose names contain one of these.
  var names: [String] = []

  init?(_ arguments: [String]) {
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      switch argument {
      case "--smoke": isSmoke = true
      case "--bytes":
        guard let value = rest.popFirst().flatMap({ Int($0) }), value > 0, value % 4096 == 0,
          value <= 1 << 24
        else { return nil }
        bytes = value
      case "--runs":
        guard let value = rest.popFirst().flatMap({ Int($0) }), value > 0 else { return nil }
        runs = value
      case "--files":
        guard let value = rest.popFirst().flatMap({ Int($0) }), value > 0 else { return nil }
        treeFiles = value
      case "--keys":
        guard let value = rest.popFirst().flatMap({ Int($0) }), value > 0 else { return nil }
        keyCount = value
      default:
        guard !argument.hasPrefix("-") else { return nil }
        names.append(argument)
      }
    }
    if isSmoke {
      bytes = 4096
      runs = 1
      treeFiles = 200
      keyCount = 5000
    }
  }
}

@main
enum BcachefsBench {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    // Without a subcommand: everything.
    let first = arguments.first.flatMap { $0.hasPrefix("-") ? nil : $0 }
    guard let options = BenchOptions(Array(arguments.dropFirst(first == nil ? 0 : 1))) else {
      usage()
    }
    switch first {
    case "support": SupportBench(options).run()
    case "image": ImageBench(options).run()
    case "lookup": LookupBench(options).run()
    case "btree": BTreeBench(options).run()
    case "derived": DerivedBench(options).run()
    case "commit": CommitBench(options).run()
    case "growth": GrowthBench(options).run()
    case "growth-of": GrowthBench(options).runOnce()
    case "files": FileBench(options).run()
    case "read": ReadBench(options).run()
    case "write": WriteBench(options).run()
    case nil:
      SupportBench(options).run()
      ImageBench(options).run()
      LookupBench(options).run()
      BTreeBench(options).run()
      DerivedBench(options).run()
      CommitBench(options).run()
      GrowthBench(options).run()
      FileBench(options).run()
      ReadBench(options).run()
      WriteBench(options).run()
    default: usage()
    }
  }

  static func usage() -> Never {
    print(
      """
      usage: bcachefs-bench [support|image|lookup|btree|derived|commit|growth|files|read|write]
             [--smoke] [--runs N] [--bytes N] [--files N] [--keys N] [NAME...]
        support   checksums, ciphers, compression, parity, beside the libraries' own figures
        image     building an image from a directory, beside other filesystems' tools
        lookup    keys of a btree, at random and in order, beside LMDB
        btree     transactions, beside the C engine (BCACHEFS_TEST_KERNEL) and LMDB
        derived   extents with what follows from them, and a few keys that are overwritten
        commit    durable commits a second, beside SQLite
        growth    time and memory from 10^5 to 10^7 keys, beside LMDB
        files     names made, looked up, renamed and removed, 10,000 in a directory
        read      mounts beside passthrough_ll, squashfuse and fuse2fs; get beside unsquashfs
        write     mounts that are written to, beside passthrough_ll, fuse2fs, ext4 and btrfs
      Only what has a NAME in its name is measured, if any is given. btree and derived take three
      rounds at most.
      """)
    exit(64)
  }
}
