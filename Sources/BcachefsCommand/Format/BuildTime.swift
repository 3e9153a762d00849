// SPDX-License-Identifier: GPL-2.0
// Time and randomness of a new volume: the machine's, or what SOURCE_DATE_EPOCH and --uuid fix.

internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

struct BuildTime {
  let nanoseconds: Int64
  /// SOURCE_DATE_EPOCH was given.
  let isFixed: Bool

  init() throws(CommandFailure) {
    guard let text = Terminal.environment("SOURCE_DATE_EPOCH") else {
      var now = timespec()
      unsafe clock_gettime(CLOCK_REALTIME, &now)
      nanoseconds = Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
      isFixed = false
      return
    }
    guard let seconds = Int64(text), (0...9_000_000_000).contains(seconds) else {
      throw CommandFailure(
        .configuration, "SOURCE_DATE_EPOCH: \(text) is not a number of seconds since 1970")
    }
    nanoseconds = seconds * 1_000_000_000
    isFixed = true
  }

  /// From a UUID and a fixed time always the same numbers; else random ones.
  func random(uuid: UUID?) -> RandomSource {
    guard isFixed, let uuid else { return .system }
    var mixer = SplitMix64(seed: uuid.lo)
    mixer = SplitMix64(seed: mixer.next() ^ uuid.hi)
    mixer = SplitMix64(seed: mixer.next() ^ UInt64(bitPattern: nanoseconds))
    return RandomSource(seed: mixer.next())
  }
}

enum Processors {
  /// Cores that this process may use.
  static var count: Int { max(Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))), 1) }
}
