// SPDX-License-Identifier: GPL-2.0
// Quotas: what each user, group and project uses, and how much that may be.
//
// How it works
//   1. A volume has these where an option switches one of the three types on. Limits are keys of
//      the quotas btree; what is used is kept nowhere on disk: it is counted when the volume is
//      opened (Engine+Quotas.swift), and follows each commit (Transaction+Quotas.swift).
//   2. Only what one subvolume of each tree of snapshots sees is counted: the one that the tree
//      names. So a snapshot of it costs nobody anything, and what is written in one neither.
//   3. A change is checked and counted in one step, before its transaction is journalled; where
//      the journal has no room for it the step is taken back. A hard limit refuses what would
//      exceed it. Behind a soft limit a grace period begins; what grows after its end is refused.
//   4. What will be written later is counted when it is promised (FileContents+Quotas.swift).
// Invariants
//   (1) What is used is what a count of all inodes would give, and what is promised.
//   (2) A change that is refused has changed nothing.
//   (3) A grace period is there only while a soft limit is exceeded. (The driver never ends one:
//       with it who was over a limit once is refused for ever, until the volume is mounted anew.)
//   (4) Who has no limit and uses nothing takes no memory.
// Locks: `state` is a leaf; it may be taken with locks of nodes held.
// On disk: grace periods in the superblock's quota section. Ends of those that have begun are in
// memory alone, as the driver's.
// Source: quota.c (bch2_quota_acct, bch2_quota_transfer, bch2_quota_check_limit).

internal import BcachefsFormat
internal import BcachefsSupport
internal import Synchronization

final class Quotas: Sendable {
  /// Seconds for which soft limits may be exceeded where the superblock says nothing: a week.
  static let defaultGraceSeconds: UInt32 = 7 * 24 * 60 * 60

  /// Something that is limited: sectors, or inodes.
  struct Counter {
    var used: Int64 = 0
    /// 0: none.
    var hardLimit: UInt64 = 0
    var softLimit: UInt64 = 0
    /// When growing ends, in seconds since 1970; 0: no grace period has begun.
    var graceEnds: UInt64 = 0

    var isOverSoftLimit: Bool { softLimit > 0 && used > 0 && UInt64(used) > softLimit }

    /// How much more it may be before it is refused.
    func room(_ now: UInt64) -> UInt64 {
      let used = UInt64(clamping: used)
      if isOverSoftLimit, graceEnds > 0, now >= graceEnds { return 0 }
      return hardLimit > 0 ? hardLimit - min(hardLimit, used) : .max
    }

    /// Why it must not grow so much; nil where it may.
    func refusal(of delta: Int64, _ now: UInt64) -> StaticString? {
      let new = UInt64(clamping: used &+ delta)
      if hardLimit > 0, new > hardLimit { return "the hard limit" }
      if softLimit > 0, new > softLimit, graceEnds > 0, now >= graceEnds {
        return "the soft limit, for longer than the grace period"
      }
      return nil
    }

    mutating func add(_ delta: Int64, graceEnds end: UInt64?) {
      used &+= delta
      if !isOverSoftLimit {
        graceEnds = 0
      } else if let end, delta > 0, graceEnds == 0 {
        graceEnds = max(end, 1)
      }
    }
  }

  /// What somebody uses.
  struct Account {
    var space = Counter()
    var inodes = Counter()

    var limits: Quota {
      get {
        Quota(
          spaceHardLimit: space.hardLimit, spaceSoftLimit: space.softLimit,
          inodeHardLimit: inodes.hardLimit, inodeSoftLimit: inodes.softLimit)
      }
      set {
        (space.hardLimit, space.softLimit) = (newValue.spaceHardLimit, newValue.spaceSoftLimit)
        (inodes.hardLimit, inodes.softLimit) = (newValue.inodeHardLimit, newValue.inodeSoftLimit)
        space.add(0, graceEnds: nil)
        inodes.add(0, graceEnds: nil)
      }
    }

    fileprivate var isNeeded: Bool {
      space.used != 0 || inodes.used != 0 || limits != Quota()
    }
  }

  /// A type of quota.
  fileprivate struct Kind {
    var accounts: [UInt32: Account] = [:]
    /// Seconds.
    var spaceGrace: UInt32 = Quotas.defaultGraceSeconds
    var inodeGrace: UInt32 = Quotas.defaultGraceSeconds

    mutating func change(_ id: UInt32, _ body: (inout Account) -> Void) {
      var account = accounts[id] ?? Account()
      body(&account)
      accounts[id] = account.isNeeded ? account : nil
    }
  }

  fileprivate struct State {
    var kinds = InlineArray<3, Kind>(repeating: Kind())
    /// The snapshots whose view is counted: those of the subvolumes that trees name.
    var counted: Set<UInt32> = []
  }

  /// Those that are on; one at least.
  let types: [QuotaType]
  private let clocks: Clocks
  private let state = Mutex(State())

  /// - Returns: nil where no type is on.
  init?(_ options: VolumeOptions, _ clocks: Clocks) {
    types = QuotaType.all.filter { options.isOn($0.option) }
    guard !types.isEmpty else { return nil }
    self.clocks = clocks
  }

  private var nowSeconds: UInt64 { UInt64(clamping: clocks.wallNanoseconds() / 1_000_000_000) }

  // MARK: - What is there

  /// Takes over what was found when the volume was opened. Nobody changes it meanwhile.
  func begin(_ usage: QuotaUsage, _ limits: [(QuotaType, UInt32, Quota)], _ section: QuotaSection?)
  {
    state.withLock { state in
      for type in types {
        state.kinds[Int(type.rawValue)] = Kind()
        for (id, used) in usage.uses(type) {
          state.kinds[Int(type.rawValue)].accounts[id] = Account(used)
        }
      }
      state.counted = Set(usage.view.snapshots)
    }
    for (type, id, limit) in limits { setLimits(limit, type, id) }
    if let section { setGrace(section) }
  }

  /// Somebody has these limits from now on.
  func setLimits(_ limits: Quota, _ type: QuotaType, _ id: UInt32) {
    guard types.contains(type) else { return }
    state.withLock { $0.kinds[Int(type.rawValue)].change(id) { $0.limits = limits } }
  }

  /// Grace periods that begin from now on are as long as this.
  func setGrace(_ section: QuotaSection) {
    state.withLock { state in
      for type in types where section.limits.indices.contains(Int(type.rawValue)) {
        let limits = section.limits[Int(type.rawValue)]
        state.kinds[Int(type.rawValue)].spaceGrace = limits.space.timeLimit
        state.kinds[Int(type.rawValue)].inodeGrace = limits.inodes.timeLimit
      }
    }
  }

  /// All who use something or have limits.
  func accounts(_ type: QuotaType) -> [UInt32: Account] {
    state.withLock { $0.kinds[Int(type.rawValue)].accounts }
  }

  // MARK: - Snapshots

  /// Whether what is seen in a snapshot is counted.
  func isCounted(_ snapshot: UInt32) -> Bool { state.withLock { $0.counted.contains(snapshot) } }

  /// Forgets nodes of the tree of snapshots that are gone: their IDs may be given to others.
  func forget(_ snapshots: [UInt32]) {
    guard !snapshots.isEmpty else { return }
    state.withLock { $0.counted.subtract(snapshots) }
  }

  /// Follows new nodes of the tree of snapshots, with what was committed.
  func follow(_ new: NewSnapshotNodes) {
    guard let first = new.ids.first else { return }
    state.withLock { state in
      // Of two nodes below one the lower one is what the source goes on in.
      if new.parent == 0 || state.counted.remove(new.parent) != nil { state.counted.insert(first) }
    }
  }

  // MARK: - Use

  /// Checks changes, and counts them.
  ///
  /// - Throws: `.quotaExceeded`; nothing was counted then.
  func charge(_ changes: [QuotaChange], _ rule: QuotaRule) throws(VolumeError) {
    let now = rule == .unchecked ? 0 : nowSeconds
    let refused = state.withLock { state -> (QuotaChange, StaticString)? in
      if rule == .enforced {
        for change in changes {
          if let limit = state.refusal(of: change, now) { return (change, limit) }
        }
      }
      for change in changes {
        state.add(change, graceFrom: rule == .unchecked ? nil : now)
      }
      return nil
    }
    guard let (change, limit) = refused else { return }
    throw VolumeError(.quotaExceeded, "\(change.type.word) \(change.id) would exceed \(limit)")
  }

  /// Takes back what was counted.
  func takeBack(_ changes: [QuotaChange]) {
    state.withLock { state in
      for change in changes {
        var opposite = change
        (opposite.sectors, opposite.inodes) = (-change.sectors, -change.inodes)
        state.add(opposite, graceFrom: nil)
      }
    }
  }

  /// Sectors that may be added for somebody before that is refused; `.max` where nothing limits it.
  func room(_ ids: QuotaIDs) -> UInt64 {
    let now = nowSeconds
    return state.withLock { state in
      types.reduce(.max) { room, type in
        let account = state.kinds[Int(type.rawValue)].accounts[ids[type]]
        return min(room, account?.space.room(now) ?? .max)
      }
    }
  }

  // MARK: - Promises

  /// Counts sectors as used that will be written.
  ///
  /// - Throws: `.quotaExceeded`.
  func promise(
    _ sectors: UInt64, to ids: QuotaIDs, _ rule: QuotaRule
  ) throws(VolumeError) -> QuotaPromise {
    guard sectors > 0 else { return QuotaPromise() }
    try charge(changes(ids, Int64(clamping: sectors)), rule)
    return QuotaPromise(ids: ids, sectors: sectors)
  }

  /// Adds one promise to another. If the file has another owner since, he has what was promised to
  /// the old one.
  func add(_ new: QuotaPromise, to promise: inout QuotaPromise) {
    guard new.sectors > 0 else { return }
    if promise.sectors > 0, promise.ids != new.ids {
      let moved = Int64(clamping: promise.sectors)
      takeBack(changes(promise.ids, moved))
      takeBack(changes(new.ids, -moved))
    }
    promise.ids = new.ids
    promise.sectors += new.sectors
  }

  /// Takes back what is left of a promise.
  func release(_ promise: inout QuotaPromise) {
    guard promise.sectors > 0 else { return }
    takeBack(changes(promise.ids, Int64(clamping: promise.sectors)))
    promise.sectors = 0
  }

  private func changes(_ ids: QuotaIDs, _ sectors: Int64) -> [QuotaChange] {
    types.map { QuotaChange(type: $0, id: ids[$0], sectors: sectors, inodes: 0) }
  }
}

extension Quotas.State {
  /// Which limit forbids a change; nil where none does.
  fileprivate func refusal(of change: QuotaChange, _ now: UInt64) -> StaticString? {
    guard change.sectors > 0 || change.inodes > 0,
      let account = kinds[Int(change.type.rawValue)].accounts[change.id]
    else { return nil }
    if change.sectors > 0, let limit = account.space.refusal(of: change.sectors, now) {
      return limit
    }
    return change.inodes > 0 ? account.inodes.refusal(of: change.inodes, now) : nil
  }

  /// - Parameter now: Grace periods may begin, at this second; nil: none does.
  fileprivate mutating func add(_ change: QuotaChange, graceFrom now: UInt64?) {
    let index = Int(change.type.rawValue)
    let (space, inodes) = (UInt64(kinds[index].spaceGrace), UInt64(kinds[index].inodeGrace))
    kinds[index].change(change.id) { account in
      account.space.add(change.sectors, graceEnds: now.map { $0 &+ space })
      account.inodes.add(change.inodes, graceEnds: now.map { $0 &+ inodes })
    }
  }
}
