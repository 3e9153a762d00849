// SPDX-License-Identifier: GPL-2.0
// The driver's messages, and which of them are complaints: all that are not known to be harmless.

/// What the guest's kernel printed from the start of the job on.
public struct KernelLog: Sendable, CustomStringConvertible {
  /// One message each, without those of booting.
  public let lines: [String]

  public init(_ text: String) {
    let all = text.split(whereSeparator: \.isNewline).map(String.init)
    let boot = all.firstIndex { $0.hasSuffix(" as init process") }
    lines = boot.map { Array(all[($0 + 1)...]) } ?? all
  }

  public var description: String { lines.joined(separator: "\n") }

  /// The messages that a healthy volume does not cause. A message this file does not know is one.
  public var complaints: [String] { lines.filter { !KernelLog.isHarmless($0) } }

  private static let harmlessLines: Set<String> = ["", "reboot: Power down"]

  /// What may follow `bcachefs (DEVICE): `, whole or its beginning.
  private static let harmlessMessages: Set<String> = [
    "recovering from unclean shutdown", "going read-write", "going read-only",
    "initializing new filesystem", "initializing freespace",
    // The driver's own race: buckets are still being discarded when a mount turns read-only.
    "bch2_do_discards_fast_work(): error erofs_trans_commit",
  ]
  private static let harmlessBeginnings = [
    "starting version ", "recovering from clean shutdown, journal seq ",
    "journal read done, replaying entries ", "shutdown complete, journal seq ",
    "Doing compatible version upgrade from ",
  ]

  static func isHarmless(_ line: String) -> Bool {
    if harmlessLines.contains(line) || line.hasPrefix("job: ") { return true }
    guard line.hasPrefix("bcachefs ("), let end = line.firstRange(of: "): ") else { return false }
    let message = line[end.upperBound...]
    if harmlessMessages.contains(String(message)) { return true }
    if harmlessBeginnings.contains(where: message.hasPrefix) { return true }
    // a recovery pass that found nothing: its name, and that it is done
    guard message.hasSuffix("... done") else { return false }
    return message.dropLast(8).allSatisfy { $0 == "_" || ("a"..."z").contains($0) }
  }
}
