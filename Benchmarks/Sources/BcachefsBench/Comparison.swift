// SPDX-License-Identifier: GPL-2.0
// Two implementations of one thing, measured in turns: machines are noisy, so both see the same
// noise, and the median of several runs counts.

internal import BcachefsSupport

struct Comparison {
  let options: BenchOptions

  /// Prints the heads of the columns.
  static func printHead() {
    print(row("", "here", "reference", "ratio"))
  }

  /// Measures and prints one line, in GB (10^9 bytes) a second.
  ///
  /// - Parameters:
  ///   - bytesPerPass: What one pass goes through.
  ///   - here: Runs this project's code so many times.
  ///   - reference: Runs the other one so many times; nil where there is none.
  func measure(
    _ name: String, bytesPerPass: Int, here: (Int) -> Void, reference: ((Int) -> Void)? = nil
  ) {
    guard options.names.isEmpty || options.names.contains(where: { name.contains($0) }) else {
      return
    }
    let passes = options.isSmoke ? 1 : calibrate(here)
    var (hereTimes, referenceTimes, ratios): ([Double], [Double], [Double]) = ([], [], [])
    for _ in 0..<options.runs {
      hereTimes.append(time { here(passes) })
      guard let reference else { continue }
      referenceTimes.append(time { reference(passes) })
      ratios.append(referenceTimes[referenceTimes.count - 1] / hereTimes[hereTimes.count - 1])
    }
    let bytes = Double(bytesPerPass * passes)
    print(
      Self.row(
        name, Self.fixed(bytes / Self.median(hereTimes)),
        reference == nil ? "-" : Self.fixed(bytes / Self.median(referenceTimes)),
        reference == nil ? "-" : Self.fixed(Self.median(ratios))))
  }

  /// So many passes that a run takes about 20 milliseconds.
  private func calibrate(_ body: (Int) -> Void) -> Int {
    body(1)
    var passes = 1
    while passes < 1 << 20 {
      let nanoseconds = time { body(passes) }
      if nanoseconds > 10_000_000 { break }
      passes *= 2
    }
    return passes
  }

  /// Nanoseconds.
  private func time(_ body: () -> Void) -> Double {
    let start = Clocks.system.monotonicNanoseconds()
    body()
    return Double(max(1, Clocks.system.monotonicNanoseconds() - start))
  }

  static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted[sorted.count / 2]
  }

  static func thousandths(_ value: Double) -> String {
    let count = Int((value * 1000).rounded())
    let digits = String(1000 + count % 1000).dropFirst()
    return "\(count / 1000).\(digits)"
  }

  static func fixed(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
  }

  static func row(_ name: String, _ columns: String...) -> String {
    var line = name + String(repeating: " ", count: max(0, 26 - name.count))
    for column in columns {
      line += String(repeating: " ", count: max(1, 11 - column.count)) + column
    }
    return line
  }
}
