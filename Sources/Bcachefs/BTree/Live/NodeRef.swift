// SPDX-License-Identifier: GPL-2.0
// A live node without counting references to it.
//
// Invariants
//   (1) Nodes live as long as their cache, and so does whoever keeps a `NodeRef`.

internal import BcachefsSupport

/// Leads to a live node. Which one that is by now its incarnation says.
@safe
struct NodeRef: Equatable, @unchecked Sendable {
  // Safety: the object lives as long as the cache; LiveNode is made for several threads.
  private let reference: Unmanaged<LiveNode>

  @inline(__always) init(_ node: LiveNode) { unsafe reference = .passUnretained(node) }

  /// From `address`; nil for 0.
  @inline(__always) init?(address: UInt) {
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: address) else { return nil }
    unsafe reference = .fromOpaque(pointer)
  }

  @inline(__always) var address: UInt { unsafe UInt(bitPattern: reference.toOpaque()) }

  @inline(__always) static func == (a: NodeRef, b: NodeRef) -> Bool { a.address == b.address }

  /// Calls `body` with the node; no references are counted.
  @inline(__always) func with<Result>(_ body: (LiveNode) -> Result) -> Result {
    unsafe reference._withUnsafeGuaranteedRef { body($0) }
  }

  /// The node, counted.
  var node: LiveNode { unsafe reference.takeUnretainedValue() }
}
