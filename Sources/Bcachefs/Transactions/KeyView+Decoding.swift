// SPDX-License-Identifier: GPL-2.0
// Values as transactions read them: one that cannot be decoded ends the transaction.

internal import BcachefsFormat

extension KeyView {
  /// What `decode` makes of the value.
  ///
  /// - Throws: `.failed`, with what is wrong with it.
  @inline(__always) func decoded<Value>(
    _ decode: (RawSpan) throws(FormatError) -> Value
  ) throws(TransactionError) -> Value {
    do throws(FormatError) {
      return try withValue(decode)
    } catch {
      throw .failed(VolumeError(error))
    }
  }
}
