// SPDX-License-Identifier: GPL-2.0
// `bcachefs-bench SUBCOMMAND [--smoke] [--bytes N] [--runs N] [NAME...]`

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
      default:
        guard !argument.hasPrefix("-") else { return nil }
        names.append(argument)
      }
    }
    if isSmoke {
      bytes = 4096
      runs = 1
    }
  }
}

@main
enum BcachefsBench {
  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    guard let command = arguments.first, let options = BenchOptions(Array(arguments.dropFirst()))
    else { usage() }
    switch command {
    case "support": SupportBench(options).run()
    default: usage()
    }
  }

  static func usage() -> Never {
    print("usage: bcachefs-bench support [--smoke] [--bytes N] [--runs N] [NAME...]")
    exit(64)
  }
}
