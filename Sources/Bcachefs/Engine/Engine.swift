// SPDX-License-Identifier: GPL-2.0
// A volume that is open for changes: what its parts are, and how they find each other.
//
// How it works
//   1. `run` hands a transaction to a body and calls it again until it commits (Engine+Run.swift).
//   2. Behind it work the journal, the queue of node writes and reclaim. Each is a step that a
//      thread repeats (Engine+Threads.swift), or whoever needs its result: so a whole volume can
//      run on one thread.
// Invariants
//   (1) Once `failure` is set nothing is written any more, and every transaction fails with it.
// Locks, from the first taken to the last: locks of nodes; the journal's; those of caches, queues
// and counters. Nothing waits with a lock of a node, nothing does I/O with any of these; before
// them come those of buckets that are written to in place, or emptied (NocowLocks.swift).
// Source: `struct bch_fs`.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

final class Engine: Sendable {
  let media: VolumeMedia
  let store: SuperblockStore
  let instruments: Instruments
  let replicas: MarkedReplicas
  let features: MarkedFeatures
  let failures: DeviceFailures
  let trees: LiveTrees
  let journal: Journal
  let unflushed: UnflushedDevices
  let nodeWrites = NodeWriteQueue()
  let writeBuffer: WriteBuffer
  let allocator: any NodePlaces
  let openBuckets: OpenBuckets
  let nocowLocks = NocowLocks()
  let writePoints: WritePoints
  let usage: SpaceUsage
  let targets: DataTargets
  let copygc = Copygc()
  let generations = GenerationGC()
  /// Nil where quotas are not on.
  let quotas: Quotas?
  /// The tree of snapshots as it is committed.
  let snapshots = Mutex(SnapshotTable())
  /// Whether there was nothing to replay.
  let wasClean: Bool
  /// Inodes that nobody could reach, and that went when the volume was opened.
  let deadInodeCount = Atomic<Int>(0)
  /// Whether the journal tells what each transaction overwrote, and its name.
  let journalsNames: Bool
  let time: VolumeTime
  private let sequences: Mutex<SplitMix64>
  private let failure = Mutex<VolumeError?>(nil)
  private let hasFailed = Atomic<Bool>(false)
  let transactions = TransactionPool()
  /// Of every transaction that there is.
  let traces = Mutex<[TransactionTrace]>([])
  let threads = Mutex<EngineThreads?>(nil)
  /// For those who wait until the volume is thawed, and for whom it is to be frozen.
  let freezing = Condition()
  let startsThreadsAgain = Atomic<Bool>(false)
  /// What only the journal has is being put into btrees: nothing may be allocated. Set by who opens
  /// the engine, who is alone.
  let isReplaying = Atomic<Bool>(false)
  /// Nodes of which fewer copies were written than should be.
  let degradedNodes = Mutex<[DegradedNode]>([])

  init(
    media: VolumeMedia, store: SuperblockStore, instruments: Instruments,
    replicas: MarkedReplicas, failures: DeviceFailures, trees: LiveTrees, journal: Journal,
    unflushed: UnflushedDevices, allocator: any NodePlaces, _ options: EngineOptions,
    wasClean: Bool
  ) {
    self.media = media
    self.store = store
    self.instruments = instruments
    self.replicas = replicas
    self.failures = failures
    self.unflushed = unflushed
    self.trees = trees
    self.journal = journal
    self.allocator = allocator
    features = MarkedFeatures(store)
    openBuckets = OpenBuckets(media)
    writePoints = WritePoints(media)
    usage = SpaceUsage(media)
    targets = DataTargets(media)
    quotas = Quotas(media.options, media.clocks)
    time = VolumeTime(media.superblock)
    self.wasClean = wasClean
    journalsNames = media.options.isOn(.journalTransactionNames)
    sequences = Mutex(SplitMix64(seed: options.seed))
    writeBuffer = WriteBuffer(limitBytes: options.writeBufferBytes)
  }

  /// The time for a change, in the volume's units.
  var now: UInt64 { time.units(media.clocks.wallNanoseconds()) }

  /// A sequence number for a new node: random, never zero.
  func nextNodeSequence() -> UInt64 {
    sequences.withLock { sequences in
      while true {
        let next = sequences.next()
        if next != 0 { return next }
      }
    }
  }

  // MARK: - Failure

  /// Writes nothing from here on (upstream: emergency read-only).
  func stopWriting(because reason: VolumeError) {
    failure.withLock { if $0 == nil { $0 = reason } }
    hasFailed.store(true, ordering: .releasing)
    journal.fail(reason)
  }

  /// - Throws: why nothing is written any more.
  @inline(__always) func checkWritable() throws(VolumeError) {
    guard hasFailed.load(ordering: .acquiring) else { return }
    if let reason = failure.withLock({ $0 }) { throw reason }
  }

  // MARK: - Transactions

  /// A transaction that nobody uses. While the volume is frozen, who is not at work for the engine
  /// itself waits here (Engine+Freeze.swift).
  func takeTransaction(_ watermark: Watermark) -> Transaction {
    while true {
      if let transaction = transactions.take(for: self, isUrgent: watermark >= .btree) {
        return transaction
      }
      waitForThaw()
    }
  }

  /// Lets go of what is in memory, without writing anything: the volume is as after a crash, or
  /// closed. Nobody uses the engine any more.
  func letGo() {
    stopThreads()
    stopWriting(because: VolumeError(.cancelled, "the volume is not open any more"))
    // Transactions refer to the engine: it would never go.
    transactions.removeIdle()
  }

  func giveBack(_ transaction: Transaction) {
    transaction.unlock()
    transaction.forgetUpdates()
    transaction.trace.set(.idle)
    transactions.giveBack(transaction)
  }
}
