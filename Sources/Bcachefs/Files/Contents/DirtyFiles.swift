// SPDX-License-Identifier: GPL-2.0
// Files that have something to be written, in the order in which that began.
//
// How it works
//   Each file that becomes dirty goes to the end of a queue. One that is written before its turn
//   stays there as an entry that no longer holds, and is skipped; when more than half are such, all
//   of them go. So every step takes the same time, however many files are dirty.
// Invariants
//   (1) Of the entries of the queue those hold whose file is dirty since the entry's time.

internal import BcachefsFormat

struct DirtyFiles {
  private struct Entry {
    let file: FileID
    let since: UInt64
  }

  private var times: [FileID: UInt64] = [:]
  private var queue: [Entry] = []
  /// Entries before this one were taken.
  private var head = 0

  /// All of them, in no order.
  var files: some Collection<FileID> { times.keys }

  func contains(_ file: FileID) -> Bool { times[file] != nil }

  /// A file has something to be written since now, unless it had before.
  mutating func insert(_ file: FileID, now: UInt64) {
    guard times[file] == nil else { return }
    times[file] = now
    if queue.count > 2 * times.count + 64 {
      queue = queue[head...].filter { times[$0.file] == $0.since }
      head = 0
    }
    queue.append(Entry(file: file, since: now))
  }

  /// All of a file is written, or not wanted any more.
  mutating func remove(_ file: FileID) { times[file] = nil }

  /// The file that has been dirty for longest, if that is so since this time or before.
  mutating func oldest(since time: UInt64) -> FileID? {
    while head < queue.count {
      let entry = queue[head]
      guard times[entry.file] == entry.since else {
        head += 1
        continue
      }
      return entry.since <= time ? entry.file : nil
    }
    queue.removeAll(keepingCapacity: true)
    head = 0
    return nil
  }
}
