// SPDX-License-Identifier: GPL-2.0
// The roots of live btrees, and how their nodes get into memory.
//
// How it works
//   1. Roots are always in memory, and their addresses never change hands without the root's write
//      lock: whoever has locked what he took for the root looks again.
//   2. A child is reached by the address that its pointer's value holds in memory, if the node
//      there is still that child; else by the cache; else it is read, with no lock held, and
//      whoever needed it begins again.
// Invariants
//   (1) `roots` leads to nodes that have state `.root`.
//   (2) No lock is held while a node is read.
//   (3) A node in memory has all that its parent's pointer says is on disk, or it is stale and
//       goes.
// Locks: none of its own.
// Source: btree_cache.c (bch2_btree_node_get, bch2_btree_node_fill).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

@safe
final class LiveTrees: Sendable {
  let cache: LiveNodeCache
  let parameters: MetadataParameters
  private let reader: NodeReader
  private let context: BKeyContext
  private let roots: [RootSlot]

  private final class RootSlot: Sendable {
    let address = Atomic<UInt>(0)
  }

  init(
    cache: LiveNodeCache, reader: NodeReader, parameters: MetadataParameters, context: BKeyContext
  ) {
    self.cache = cache
    self.reader = reader
    self.parameters = parameters
    self.context = context
    roots = (0..<Int(BTreeID.maxCount)).map { _ in RootSlot() }
  }

  // MARK: - Roots

  /// The root of a btree; nil where there is no such btree.
  @inline(__always) func root(_ btree: BTreeID) -> NodeRef? {
    NodeRef(address: roots[Int(btree.rawValue)].address.load(ordering: .acquiring))
  }

  /// Makes a node its btree's root.
  ///
  /// - Precondition: both the old root and the new one are write-locked by the caller, or nobody
  ///   else knows of the btree.
  func setRoot(_ node: LiveNode) {
    node.set(.root)
    roots[Int(node.btree.rawValue)].address.store(NodeRef(node).address, ordering: .releasing)
  }

  /// Begins a btree with an empty leaf that is not on disk yet.
  func makeEmptyRoot(_ btree: BTreeID, sequence: UInt64) {
    let node = cache.take()
    node.becomeEmpty(btree, level: 0, sequence: sequence)
    setRoot(node)
    node.lock.unlockWrite()
    node.lock.unlockIntent()
  }

  /// Reads the root that a pointer leads to.
  func openRoot(_ btree: BTreeID, level: Int, _ pointer: NodePointer) throws(VolumeError) {
    setRoot(try read(pointer, btree: btree, level: level))
  }

  // MARK: - Children

  /// The child that an interior node's entry leads to, if it is in memory. It is not locked, and
  /// may be another node by now: compare its identity once it is.
  @inline(__always) func knownChild(_ view: KeyView) -> NodeRef? {
    guard view.key.type == .btreePtrV2, let value = unsafe view.unsafeValue else { return nil }
    let address = unsafe value.loadUnaligned(as: UInt.self)
    return NodeRef(address: address) ?? findChild(view)
  }

  /// The same by the cache, which knows where it is whatever the address says.
  @inline(never) func findChild(_ view: KeyView) -> NodeRef? {
    guard let identity = view.withValue({ NodeIdentity(.btreePtrV2, $0) }),
      let node = cache.find(identity)
    else { return nil }
    let found = NodeRef(node)
    // All who write this write the same; nobody reads it but those who compare the identity.
    unsafe UnsafeMutableRawPointer(mutating: view.unsafeValue)?.storeBytes(
      of: found.address, as: UInt.self)
    return found
  }

  /// Reads a node, unless somebody else did meanwhile.
  ///
  /// Whoever read slowly may come with a node that others have read, changed, written and let go in
  /// the meantime: it has fewer sectors than its pointer says by now, and is not taken for it.
  ///
  /// - Returns: the node; it is not locked.
  func read(_ pointer: NodePointer, btree: BTreeID, level: Int) throws(VolumeError) -> LiveNode {
    let times = cache.instruments.times
    let start = times.now
    cache.instruments.count(.btreeNodeRead)
    let decoded = try reader.readUncached(pointer, btree: btree, level: level)
    let node = cache.take()
    let decodedAt = times.now
    do throws(VolumeError) {
      try node.load(decoded, pointer, blockBytes: parameters.blockBytes, context)
    } catch {
      cache.retire(node)
      throw error
    }
    times.record(.btreeNodeReadDone, from: decodedAt)
    times.record(.btreeNodeRead, from: start)
    while !cache.insert(node) {
      guard let identity = pointer.identity, let other = cache.find(identity) else { continue }
      do throws(VolumeError) {
        if try cache.retireIfOlder(other, than: pointer) { continue }
      } catch {
        node.pointer = NodePointer()
        cache.retire(node)
        throw error
      }
      node.pointer = NodePointer()
      cache.retire(node)
      return other
    }
    node.lock.unlockWrite()
    node.lock.unlockIntent()
    return node
  }
}
