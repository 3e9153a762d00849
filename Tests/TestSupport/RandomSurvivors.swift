// SPDX-License-Identifier: GPL-2.0
// What is left of a device's cache after a crash, of all kinds that there are.

public import BcachefsIO
public import BcachefsSupport

extension CrashSurvivors {
  /// One of all kinds, as `random` says.
  public static func random(_ random: inout SplitMix64) -> CrashSurvivors {
    switch random.next() % 5 {
    case 0: .none
    case 1: .all
    case 2: .prefix(Int(random.next() % 8))
    case 3: .subset(seed: random.next())
    default: .tornSubset(seed: random.next())
    }
  }
}
