// SPDX-License-Identifier: GPL-2.0
// Nodes that could not be read, and why.

internal import BcachefsFormat
internal import Synchronization

final class NodeFailures: Sendable {
  private struct Node: Hashable {
    let identity: NodeIdentity
    /// Where the pointer says that the node ends: another pointer may be right about it.
    let end: BPos
  }

  /// More are not remembered.
  private static let countMax = 1 << 16

  private let failures = Mutex<[Node: VolumeError]>([:])

  func find(_ identity: NodeIdentity, _ end: BPos) -> VolumeError? {
    failures.withLock { $0[Node(identity: identity, end: end)] }
  }

  func note(_ error: VolumeError, of identity: NodeIdentity, _ end: BPos) {
    failures.withLock { failures in
      if failures.count < Self.countMax {
        failures[Node(identity: identity, end: end)] = error
      }
    }
  }
}
