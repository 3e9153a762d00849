// SPDX-License-Identifier: GPL-2.0
// Names of files: made, looked up, listed, renamed and removed, 10,000 in a directory for each
// thread, each an operation of its own.
//
// How it works
//   1. A new volume each round; the cache holds all of it, and nothing is waited for but the
//      journal.
//   2. A pass is one kind of operation on all names, in the order in which they were made.
//   3. One more round on one thread counts how often memory is asked for.

internal import Bcachefs
internal import BcachefsSupport
internal import CReference

#if canImport(Glibc)
internal import Glibc
#endif

struct FileBench {
  private let options: BenchOptions
  private let folder = Program.scratchFolder

  init(_ options: BenchOptions) { self.options = options }

  private struct Pass: Sendable {
    let name: String
    let body: @Sendable (FileSystem, FileID, [UInt8], Int) throws(VolumeError) -> Void
  }

  private static let passes = [
    Pass(name: "create") { (files, top, name, _) throws(VolumeError) in
      _ = try files.create(name, in: top, FileCreation(.regular, permissions: 0o644))
    },
    Pass(name: "lookup") { (files, top, name, _) throws(VolumeError) in
      _ = try files.lookup(name, in: top)
    },
    Pass(name: "lookup, no such name") { (files, top, name, _) throws(VolumeError) in
      do throws(VolumeError) { _ = try files.lookup(name + [0x78], in: top) } catch {
        if error.code != .notFound { throw error }
      }
    },
    Pass(name: "list, 100 names") { (files, top, _, number) throws(VolumeError) in
      if number % 100 == 0 { _ = try files.entries(of: top, limit: 100) }
    },
    Pass(name: "set xattr") { (files, top, name, _) throws(VolumeError) in
      let file = try files.lookup(name, in: top).id
      try files.setXattr(Array("user.name".utf8), of: file, to: name)
    },
    Pass(name: "chmod") { (files, top, name, _) throws(VolumeError) in
      var change = AttributeChange()
      change.permissions = 0o600
      _ = try files.change(files.lookup(name, in: top).id, change)
    },
    Pass(name: "rename") { (files, top, name, _) throws(VolumeError) in
      try files.rename(name, in: top, to: name + [0x79], in: top)
    },
    Pass(name: "unlink") { (files, top, name, _) throws(VolumeError) in
      try files.unlink(name + [0x79], in: top)
    },
  ]

  func run() {
    Program.requireRelease()
    _ = unsafe mkdir(folder, 0o755)
    defer { Program.remove(folder) }
    let count = options.isSmoke ? 200 : 10_000
    var times: [[String: [Double]]] = []
    for threads in [1, 2] {
      var all: [String: [Double]] = [:]
      for round in 0..<options.runs {
        do throws(VolumeError) { try measure(threads, count, round, &all) } catch {
          return print("files failed: \(error)")
        }
      }
      times.append(all)
    }
    print("\nnames of files: nanoseconds an operation, median; operations a second; allocations")
    print(Comparison.row("", "1 thread", "2 threads", "1, a second", "2, a second", "each"))
    let allocations = (try? countAllocations(count)) ?? [:]
    for pass in Self.passes {
      let medians = times.map { Comparison.median($0[pass.name] ?? [0]) }
      let each = allocations[pass.name].map(Comparison.fixed) ?? "-"
      print(
        Comparison.row(
          pass.name, "\(Int(medians[0]))", "\(Int(medians[1]))",
          "\(Int(1e9 / max(medians[0], 1)))", "\(Int(2e9 / max(medians[1], 1)))", each))
    }
  }

  private func open(_ image: String, seed: UInt64) throws(VolumeError) -> FileSystem {
    guard Program.run(["truncate", "-s", "4G", image]) != nil,
      Program.run([Program.bcachefs, "format", "--quiet", image]) != nil
    else { throw VolumeError(.device, "no volume could be formatted") }
    return try FileSystem.open(VolumeSources(paths: [image]), FileSystemOptions(seed: seed))
  }

  private static func tops(
    _ files: FileSystem, _ count: Int
  ) throws(VolumeError) -> [FileID] {
    var result: [FileID] = []
    for number in 0..<count {
      result.append(
        try files.create(
          Array("top \(number)".utf8), in: files.root,
          FileCreation(.directory, permissions: 0o755)
        ).id)
    }
    return result
  }

  private static func name(_ number: Int) -> [UInt8] { Array("file \(number).dat".utf8) }

  private func measure(
    _ threads: Int, _ count: Int, _ round: Int, _ times: inout [String: [Double]]
  ) throws(VolumeError) {
    let image = "\(folder)/files.img"
    defer { Program.remove(image) }
    let files = try open(image, seed: UInt64(round + 1))
    let tops = try Self.tops(files, threads)
    let names = (0..<count).map(Self.name)
    for pass in Self.passes {
      let nanoseconds = Workers.time(threads) { thread in
        do throws(VolumeError) {
          for number in 0..<count { try pass.body(files, tops[thread], names[number], number) }
          return count
        } catch {
          print("\(pass.name): \(error)")
          return -1
        }
      }
      guard let nanoseconds else { throw VolumeError(.cancelled) }
      times[pass.name, default: []].append(nanoseconds / Double(count))
    }
    try files.close()
  }

  private func countAllocations(_ count: Int) throws(VolumeError) -> [String: Double] {
    let image = "\(folder)/counted.img"
    defer { Program.remove(image) }
    let files = try open(image, seed: 9)
    let top = try Self.tops(files, 1)[0]
    let names = (0..<count).map(Self.name)
    var result: [String: Double] = [:]
    for pass in Self.passes {
      let before = allocation_count()
      for number in 0..<count { try pass.body(files, top, names[number], number) }
      result[pass.name] = Double(allocation_count() - before) / Double(count)
    }
    try files.close()
    return result
  }
}
