// SPDX-License-Identifier: GPL-2.0
// The write buffer as it is: how much waits there, and what of the journal it holds.

internal import BcachefsFormat
internal import BcachefsSupport

/// A write buffer, more or less at a moment.
struct WriteBufferState: Sendable, Equatable {
  /// Keys that are not in their nodes, those of a flush that is under way among them.
  let keys: Int
  /// Of those that were added since.
  let byteCount: Int
  let limitBytes: Int
  /// The oldest journal entry of them; 0 if there are none.
  let oldestSequence: UInt64

  var text: String {
    var out = TextPrinter()
    out.addTabStop(28)
    out.printLine("keys:\t\(keys)")
    out.printLine("bytes:\t\(byteCount)/\(limitBytes)")
    out.printLine("oldest seq:\t\(oldestSequence)")
    return out.text
  }
}

extension Engine {
  var writeBufferState: WriteBufferState {
    WriteBufferState(
      keys: writeBuffer.count, byteCount: writeBuffer.byteCount,
      limitBytes: writeBuffer.limitBytes, oldestSequence: writeBuffer.oldestSequence)
  }
}
