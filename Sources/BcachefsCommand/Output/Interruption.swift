// SPDX-License-Identifier: GPL-2.0
// Long work that ends in order: the first SIGINT or SIGTERM asks for it, a second one ends the
// process at once.

internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// Signals that ask for an end.
enum Interruption {
  private static let signals = Atomic(0)

  static var isAsked: Bool { signals.load(ordering: .relaxed) > 0 }

  static func listen() {
    for number in [SIGINT, SIGTERM] {
      _ = signal(number) { number in
        if Interruption.signals.add(1, ordering: .relaxed).newValue > 1 {
          _exit(128 + number)
        }
      }
    }
  }
}
