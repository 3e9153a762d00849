// SPDX-License-Identifier: GPL-2.0

#if canImport(Glibc)
internal import Glibc
#endif

enum LocalTime {
  /// Seconds that local time is ahead of UTC at a moment, in seconds since 1970.
  static func offset(at seconds: Int64) -> Int64 {
    var moment = time_t(seconds)
    var fields = unsafe tm()
    guard unsafe localtime_r(&moment, &fields) != nil else { return 0 }
    return unsafe Int64(fields.tm_gmtoff)
  }
}
