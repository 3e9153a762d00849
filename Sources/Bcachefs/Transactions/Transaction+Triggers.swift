// SPDX-License-Identifier: GPL-2.0
// placeholder
internal import BcachefsFormat
extension Transaction {
  @inline(__always) func runTriggers() throws(TransactionError) {}
  func runPointerTriggers(_ update: InteriorUpdate) throws(TransactionError) {}
}
