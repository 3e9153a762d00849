// SPDX-License-Identifier: GPL-2.0
// Points in time in ctime(3)'s form, without a locale and without a time zone database.

/// Calendar text of seconds since 1970.
public enum DateText {
  private static let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  /// As in `Sun Nov 22 11:16:49 2026`.
  ///
  /// - Parameters:
  ///   - seconds: Since 1970; any value.
  ///   - offset: Seconds that local time is ahead of UTC at that moment.
  public static func text(seconds: Int64, offset: Int64 = 0) -> String {
    let (sum, overflow) = seconds.addingReportingOverflow(offset)
    let local = overflow ? seconds : sum
    // Floor division: days may be negative.
    let isBefore = local % 86400 < 0
    let days = local / 86400 - (isBefore ? 1 : 0)
    let second = Int(local % 86400 + (isBefore ? 86400 : 0))
    let date = civil(days)
    let weekday = weekdays[Int((days % 7 + 7) % 7)]
    let day = date.day < 10 ? " \(date.day)" : "\(date.day)"
    let time = [second / 3600, second / 60 % 60, second % 60]
      .map { $0 < 10 ? "0\($0)" : "\($0)" }.joined(separator: ":")
    return "\(weekday) \(months[date.month - 1]) \(day) \(time) \(date.year)"
  }

  /// The proleptic Gregorian date of a day, counted from 1970-01-01.
  private static func civil(_ days: Int64) -> (year: Int64, month: Int, day: Int) {
    // Years are counted from March, so that the leap day is a year's last; eras of 400 years are
    // all alike.
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = Int(dayOfYear - (153 * marchMonth + 2) / 5) + 1
    let month = Int(marchMonth < 10 ? marchMonth + 3 : marchMonth - 9)
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }
}
