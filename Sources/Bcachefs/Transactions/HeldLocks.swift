// SPDX-License-Identifier: GPL-2.0
// The node locks that a transaction holds, one row a node.
//
// Invariants
//   (1) A node has at most one row, and is locked once, in the row's mode.
//   (2) Whoever adds a row took the lock; whoever removes it gives the lock back.
//   (3) Rows are words that others may read (`LockTable`); those behind `count` are no locks.
// Locks: only ever tries (Transaction+Search.swift).

internal import BcachefsSupport
internal import Synchronization

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
  private let table: LockTable
  private var rows: UnsafeMutablePointer<Atomic<UInt>>
  private var capacity = 16
  private(set) var count = 0

  /// - Parameter table: Where the rows are, and others see them.
  init(_ table: LockTable) {
    self.table = table
    unsafe rows = table.grow(to: capacity)
  }

  @inline(__always) private subscript(row: Int) -> LockWord {
    get { unsafe LockWord(rawValue: rows[row].load(ordering: .relaxed)) }
    nonmutating set { unsafe rows[row].store(newValue.rawValue, ordering: .relaxed) }
  }

  /// The row of a node; nil if it is not locked.
  @inline(__always) func row(of node: NodeRef) -> Int? {
    let address = node.address
    var row = count &- 1
    while row >= 0 {
      if self[row].address == address { return row }
      row &-= 1
    }
    return nil
  }

  @inline(__always) func mode(_ row: Int) -> LockMode { self[row].mode }
  @inline(__always) func node(_ row: Int) -> NodeRef {
    guard let node = self[row].node else { unreachable("a row has a node") }
    return node
  }

  /// Takes note of a lock that was taken.
  @inline(__always) mutating func add(_ node: NodeRef, _ mode: LockMode) {
    if count == capacity { grow() }
    self[count] = LockWord(node, mode)
    count &+= 1
  }

  private mutating func grow() {
    capacity *= 2
    unsafe rows = table.grow(to: capacity)
  }

  /// Tries to hold a row's node in a higher mode; what was reached stays.
  @inline(__always) mutating func tryRaise(_ row: Int, to mode: LockMode) -> Bool {
    let node = node(row)
    var reached = self.mode(row)
    if reached == .read, mode > .read {
      guard node.with({ $0.lock.tryUpgrade() }) else { return false }
      reached = .intent
      self[row] = LockWord(node, reached)
    }
    if reached == .intent, mode == .write {
      guard node.with({ $0.lock.tryWrite(ownReaders: 0) }) else {
        return false
      }
      self[row] = LockWord(node, .write)
    }
    return true
  }

  /// Gives one lock back.
  @inline(__always) mutating func release(_ row: Int) {
    Self.unlock(self[row])
    remove(row)
  }

  @inline(__always) private mutating func remove(_ row: Int) {
    count &-= 1
    self[row] = self[count]
    self[count] = LockWord(rawValue: 0)
  }

  /// Write locks become intent locks again.
  @inline(__always) mutating func lowerWrites() {
    for row in 0..<count where mode(row) == .write {
      let node = node(row)
      node.with { $0.lock.unlockWrite() }
      self[row] = LockWord(node, .intent)
    }
  }

  /// Gives all locks back.
  @inline(__always) mutating func releaseAll() {
    while count > 0 {
      count &-= 1
      Self.unlock(self[count])
      self[count] = LockWord(rawValue: 0)
    }
  }

  /// Forgets a node that was retired, lock and all.
  mutating func forget(_ node: NodeRef) {
    guard let row = row(of: node) else { return }
    remove(row)
  }

  @inline(__always) private static func unlock(_ word: LockWord) {
    guard let node = word.node else { unreachable("a row has a node") }
    node.with { node in
      switch word.mode {
      case .read: node.lock.unlockRead()
      case .intent: node.lock.unlockIntent()
      case .write:
        node.lock.unlockWrite()
        node.lock.unlockIntent()
      }
    }
  }
}
