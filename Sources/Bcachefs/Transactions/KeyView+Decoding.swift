// SPDX-License-Identifier: GPL-2.0
// Values as transactions read them: one that cannot be decoded ends the transaction.

internal import BcachefsFormat
internal import BcachefsSupport

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

  /// Copies the part of an extent that lies in a range of sectors.
  ///
  /// - Parameters:
  ///   - part: Not empty, and in the extent.
  ///   - value: Gets the value; the key says how much of it there is.
  /// - Returns: the key of the part.
  /// - Throws: what cutting it throws.
  func copy(
    _ part: Range<UInt64>, into value: inout MutableRawSpan, sizes: ExtentEntrySizes
  ) throws(FormatError) -> BKey {
    var key = key
    withValue { value.copy($0, to: 0) }
    try key.cutFront(to: part.lowerBound, &value, sizes: sizes)
    key.cutBack(to: part.upperBound)
    return key
  }
}
