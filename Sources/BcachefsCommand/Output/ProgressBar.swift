// SPDX-License-Identifier: GPL-2.0
// One line on a terminal that says how far a build or a check is, drawn over itself ten times a
// second.

internal import Bcachefs
internal import BcachefsFormat

final class ProgressBar {
  private let isShown: Bool
  private let start = ContinuousClock.now
  private var lastDrawn: ContinuousClock.Instant?
  private var drawnColumns = 0

  /// - Parameter isWanted: No bar appears where standard error is no terminal, whatever this says.
  init(isWanted: Bool) { isShown = isWanted && Terminal.errorIsTerminal }

  var elapsed: Duration { ContinuousClock.now - start }

  /// Says `text` until there is progress.
  func announce(_ text: String) { if isShown { draw(text) } }

  func show(_ progress: BuildProgress) {
    guard isDue else { return }
    draw(Self.line(progress, seconds: Self.seconds(elapsed), columns: Terminal.columns - 1))
  }

  /// Says how much of what has a name is done, 0 to 1.
  func show(_ name: String, _ share: Double) {
    guard isDue else { return }
    draw(Self.line(name, share, columns: Terminal.columns - 1))
  }

  /// Whether it is time to draw again.
  private var isDue: Bool {
    guard isShown else { return false }
    let now = ContinuousClock.now
    if let lastDrawn, now - lastDrawn < .milliseconds(100) { return false }
    lastDrawn = now
    return true
  }

  /// Wipes the line.
  func finish() {
    guard isShown, drawnColumns > 0 else { return }
    Output.writeToError("\r" + String(repeating: " ", count: drawnColumns) + "\r")
    drawnColumns = 0
  }

  private func draw(_ text: String) {
    let padding = String(repeating: " ", count: max(drawnColumns - text.count, 0))
    Output.writeToError("\r\(text)\(padding)")
    drawnColumns = text.count
  }

  static func seconds(_ duration: Duration) -> Double {
    let (seconds, attoseconds) = duration.components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }

  /// `[####----]  45%  812/20000 files  98.1 MiB  312 MiB/s  0:03 left`
  static func line(_ progress: BuildProgress, seconds: Double, columns: Int) -> String {
    // A file costs about as much as a page of data.
    let done = progress.bytes + progress.inodes * 4096
    let total = max(progress.totalBytes + progress.totalInodes * 4096, done, 1)
    let fraction = Double(done) / Double(total)
    var text = " \(padded(Int(fraction * 100), 3))%  \(progress.inodes)"
    if progress.totalInodes > 0 { text += "/\(progress.totalInodes)" }
    text += " files  \(HumanSize.text(progress.bytes))"
    if seconds > 0.2 {
      text += "  \(HumanSize.text(UInt64(Double(progress.bytes) / seconds)))/s"
      if fraction > 0.01 {
        text += "  \(clock(seconds * (1 - fraction) / fraction)) left"
      }
    }
    return bar(fraction, text, columns: columns)
  }

  /// `[####----]  45%  check_extents`
  static func line(_ name: String, _ share: Double, columns: Int) -> String {
    let fraction = min(max(share, 0), 1)
    return bar(fraction, " \(padded(Int(fraction * 100), 3))%  \(name)", columns: columns)
  }

  /// A bar with a text behind it; only the text where there is no room.
  private static func bar(_ fraction: Double, _ text: String, columns: Int) -> String {
    let width = columns - text.count - 2
    guard width >= 8 else { return String(text.dropFirst().prefix(columns)) }
    let bar = min(width, 30)
    let filled = Int(fraction * Double(bar))
    return "[" + String(repeating: "#", count: filled)
      + String(repeating: "-", count: bar - filled) + "]" + text
  }

  private static func padded(_ number: Int, _ columns: Int) -> String {
    let text = "\(number)"
    return String(repeating: " ", count: max(columns - text.count, 0)) + text
  }

  private static func clock(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 359_999))
    let rest = whole % 60
    return "\(whole / 60):\(rest < 10 ? "0" : "")\(rest)"
  }
}
