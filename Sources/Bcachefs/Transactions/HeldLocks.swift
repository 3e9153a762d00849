// SPDX-License-Identifier: GPL-2.0
// The node locks that a transaction holds, one row a node.
//
// Invariants
//   (1) A node has at most one row, and is locked once, in the row's mode.
//   (2) Whoever adds a row took the lock; whoever removes it gives the lock back.
// Locks: only ever tries (Transaction+Search.swift).

internal import BcachefsSupport

/// How a node is locked.
enum LockMode: UInt8, Comparable {
  case read
  case intent
  case write

  static func < (a: LockMode, b: LockMode) -> Bool { a.rawValue < b.rawValue }
}

/// A table of locked nodes. Searches go from the newest back: they are few.
@safe
struct HeldLocks: ~Copyable {
  private struct Row {
    let node: NodeRef
    var mode: LockMode
  }

  private var rows: UnsafeMutablePointer<Row>
  private var capacity = 16
  private(set) var count = 0

  init() { unsafe rows = .allocate(capacity: capacity) }

  deinit { unsafe rows.deallocate() }

  /// The row of a node; nil if it is not locked.
  @inline(__always) func row(of node: NodeRef) -> Int? {
    var row = count &- 1
    while row >= 0 {
      if unsafe rows[row].node == node { return row }
      row &-= 1
    }
    return nil
  }

  @inline(__always) func mode(_ row: Int) -> LockMode { unsafe rows[row].mode }
  @inline(__always) func node(_ row: Int) -> NodeRef { unsafe rows[row].node }

  /// Takes note of a lock that was taken.
  @inline(__always) mutating func add(_ node: NodeRef, _ mode: LockMode) {
    if count == capacity { grow() }
    unsafe (rows + count).initialize(to: Row(node: node, mode: mode))
    count &+= 1
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Row>.allocate(capacity: capacity * 2)
    unsafe larger.moveInitialize(from: rows, count: count)
    unsafe rows.deallocate()
    unsafe rows = larger
    capacity *= 2
  }

  /// Tries to hold a row's node in a higher mode; what was reached stays.
  @inline(__always) mutating func tryRaise(_ row: Int, to mode: LockMode) -> Bool {
    let node = unsafe rows[row].node
    if unsafe rows[row].mode == .read, mode > .read {
      guard node.with({ $0.lock.tryUpgrade() }) else { return false }
      unsafe rows[row].mode = .intent
    }
    if unsafe rows[row].mode == .intent, mode == .write {
      guard node.with({ $0.lock.tryWrite(ownReaders: 0) }) else {
        return false
      }
      unsafe rows[row].mode = .write
    }
    return true
  }

  /// Gives one lock back.
  @inline(__always) mutating func release(_ row: Int) {
    unsafe Self.unlock(rows[row].node, rows[row].mode)
    count &-= 1
    unsafe rows[row] = rows[count]
  }

  /// Write locks become intent locks again.
  @inline(__always) mutating func lowerWrites() {
    for row in 0..<count where unsafe rows[row].mode == .write {
      unsafe rows[row].node.with { $0.lock.unlockWrite() }
      unsafe rows[row].mode = .intent
    }
  }

  /// Gives all locks back.
  @inline(__always) mutating func releaseAll() {
    while count > 0 {
      count &-= 1
      unsafe Self.unlock(rows[count].node, rows[count].mode)
    }
  }

  /// Forgets a node that was retired, lock and all.
  mutating func forget(_ node: NodeRef) {
    guard let row = row(of: node) else { return }
    count &-= 1
    unsafe rows[row] = rows[count]
  }

  @inline(__always) private static func unlock(_ node: NodeRef, _ mode: LockMode) {
    node.with { node in
      switch mode {
      case .read: node.lock.unlockRead()
      case .intent: node.lock.unlockIntent()
      case .write:
        node.lock.unlockWrite()
        node.lock.unlockIntent()
      }
    }
  }
}
