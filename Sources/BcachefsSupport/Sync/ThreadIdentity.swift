// SPDX-License-Identifier: GPL-2.0
// Which thread this is, for data that threads should not share.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

public enum ThreadIdentity {
  /// A number that stays the same as long as the calling thread lives, well distributed in its
  /// upper bits. Threads may have the same.
  public static var hash: UInt64 {
    #if canImport(Glibc)
    let identity = UInt64(pthread_self())
    #else
    let identity = UInt64(UInt(bitPattern: pthread_self()))
    #endif
    return (identity >> 6) &* 0x9e37_79b9_7f4a_7c15
  }
}
