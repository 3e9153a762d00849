// SPDX-License-Identifier: GPL-2.0
// The superblock of a volume that is open for writing: in memory for everybody, changed and written
// by one at a time.
//
// How it works
//   1. `superblock` is what is durable. `update` gives a closure a copy to change, adds to it what
//      was counted meanwhile (persistent counters, errors of members, findings, the flags for
//      inconsistencies, the list for downgrades), writes it (`SuperblockWriter`), and only then
//      shows it to others.
//   2. Updates wait for each other. Whoever calls `update` holds no lock of the engine: it is I/O.
//   3. A volume that is not initialised yet keeps its changes in memory until it is: a superblock
//      that is half made must not be found. With `nochanges` all are kept in memory, always.
// Invariants
//   (1) What the closure of an update throws, or what has no room, leaves everything as it was.
//   (2) A btree node is only written where `markBTree` has returned for its sectors.
//   (3) After `.missingMembers`, `.splitBrain` or `.device` from an update each later one throws
//       the same: the volume can only be read from then on.
// Locks: `condition` guards the state, and is not held while a device is used: whoever writes has
// taken the writer out (`isTaken`). A leaf; nothing is called while it is held.
// Source: super-io.c (bch2_write_super, bch2_sb_update), sb-errors.c (bch2_sb_error_count).

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// The live superblock. All calls are safe from any thread.
final class SuperblockStore: @unchecked Sendable {
  // Safety: `state` is only touched with `condition` locked; all else is immutable, or atomic.
  private struct State {
    var writer: SuperblockWriter
    var isTaken = false
  }

  /// Of the btrees, when they are running: whether there are stripes among them.
  private enum Stripes {
    static let unknown: UInt8 = 0
    static let none: UInt8 = 1
    static let some: UInt8 = 2
  }

  let counters: PersistentCounters
  let memberErrors: MemberErrors
  let clocks: Clocks
  /// Nothing is ever written.
  let isNoChanges: Bool
  private let options: VolumeOptions
  private let findings: Mutex<ErrorsSection>
  private let stripes = Atomic<UInt8>(Stripes.unknown)
  private let hasErrors: Atomic<Bool>
  private let hasTopologyErrors = Atomic<Bool>(false)
  private let condition = Condition()
  private var state: State

  /// - Parameters:
  ///   - superblock: The one that counts.
  ///   - devices: Those that take part, with what was found on each; open for writing, unless
  ///     `options` say `nochanges`.
  ///   - options: The volume's, with the caller's over them.
  init(
    _ superblock: Superblock, devices: [DeviceSuperblock], options: VolumeOptions,
    clocks: Clocks = .system
  ) {
    var contents = SuperblockContents(shared: superblock, own: [:])
    contents.shared.sections.removeAll(where: \.isPerDevice)
    for device in devices {
      let sections = device.superblock.sections.filter(\.isPerDevice)
      contents.own[Int(device.superblock.deviceIndex)] = sections
    }
    contents.shared.markMounted(
      devices: Set(devices.map { Int($0.superblock.deviceIndex) }), time: Self.seconds(clocks))
    counters = PersistentCounters(superblock)
    memberErrors = MemberErrors(superblock)
    findings = Mutex(superblock.section(of: ErrorsSection.self) ?? ErrorsSection())
    hasErrors = Atomic(superblock[Superblock.Layout.hasErrors] != 0)
    self.clocks = clocks
    self.options = options
    isNoChanges = options.isOn(.nochanges)
    state = State(
      writer: SuperblockWriter(
        contents, isNoChanges ? [] : devices.map { SuperblockDisk($0) }, errors: memberErrors,
        options: options))
  }

  private static func seconds(_ clocks: Clocks) -> UInt64 {
    UInt64(clamping: clocks.wallNanoseconds() / 1_000_000_000)
  }

  // MARK: Looking

  /// What all devices have in common, as it is durable. A device's own sections are not in it.
  var superblock: Superblock { condition.withLock { state.writer.contents.shared } }

  /// Devices that failed while superblocks were written; nothing is written to them any more.
  var failures: [SuperblockWriter.Failure] { condition.withLock { state.writer.failures } }

  /// Why nothing can be written any more, if so.
  var fatal: VolumeError? { condition.withLock { state.writer.fatal } }

  /// The buckets of a member's journal one by one; at most `WritingSupport.journalBucketsMax`.
  func journalBuckets(of member: Int) -> [UInt64] {
    let all = journalRanges(of: member).lazy.flatMap { $0.start..<$0.start + $0.count }
    return Array(all.prefix(WritingSupport.journalBucketsMax))
  }

  /// The buckets of a member's journal, in the order in which it uses them. They lie within the
  /// device.
  func journalRanges(of member: Int) -> [JournalBucketRange] {
    let sections = condition.withLock { state.writer.contents.own[member] } ?? []
    for section in sections {
      switch section {
      case .journalV2(let ranges): return ranges.ranges
      case .journal(let list): return JournalBucketRangesSection(buckets: list.buckets).ranges
      default: break
      }
    }
    return []
  }

  /// Where a member's copies of the superblock are; nil if its device is not here.
  func layout(of member: Int) -> SuperblockLayout? {
    condition.withLock { state.writer.disks.first { $0.index == member }?.layout }
  }

  // MARK: Writing

  /// Changes the superblock and makes that durable. The caller holds no lock.
  ///
  /// - Parameter change: Gets what is durable; may throw, and nothing has happened then. It does
  ///   not update itself: that would wait for ever.
  /// - Throws: what `change` throws, and what `SuperblockWriter.write` throws.
  func update(
    _ change: (inout Superblock) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    try updateContents { contents throws(VolumeError) in try change(&contents.shared) }
  }

  /// Makes what was counted meanwhile durable.
  func write() throws(VolumeError) { try updateContents { _ in } }

  private func updateContents(
    _ change: (inout SuperblockContents) throws(VolumeError) -> Void
  ) throws(VolumeError) {
    var writer = take()
    do throws(VolumeError) {
      var next = writer.contents
      try change(&next)
      merge(into: &next.shared)
      if isNoChanges || !next.shared.isInitialized {
        writer.keep(next)
      } else {
        counters.add(.writeSuper)
        try writer.write(next, time: Self.seconds(clocks))
      }
    } catch {
      giveBack(writer)
      throw error
    }
    giveBack(writer)
  }

  private func take() -> SuperblockWriter {
    condition.withLock {
      while state.isTaken { condition.wait() }
      state.isTaken = true
      return state.writer
    }
  }

  private func giveBack(_ writer: SuperblockWriter) {
    condition.withLock {
      state.writer = writer
      state.isTaken = false
      condition.broadcast()
    }
  }

  /// Adds what is kept outside of the superblock between writes.
  private func merge(into superblock: inout Superblock) {
    counters.merge(into: &superblock)
    memberErrors.merge(into: &superblock)
    let found = findings.withLock { $0 }
    if !found.counts.isEmpty || superblock.section(.errors) != nil {
      superblock.setSection(.errors(found))
    }
    if hasErrors.load(ordering: .relaxed) { superblock[Superblock.Layout.hasErrors] = 1 }
    if hasTopologyErrors.load(ordering: .relaxed) {
      superblock[Superblock.Layout.hasTopologyErrors] = 1
    }
    let stripes = stripes.load(ordering: .relaxed)
    if stripes != Stripes.unknown {
      superblock.updateDowngradeSection(hasStripes: stripes == Stripes.some)
    }
    let checksum = ChecksumOption(
      rawValue: UInt8(truncatingIfNeeded: options[.metadataChecksum]))
    if let type = checksum.metadataChecksumType {
      superblock[Superblock.Layout.checksumType] = UInt64(type)
    }
  }

  /// Changes the buckets of a member's journal, and makes that durable
  /// (`bch2_journal_buckets_to_sb`).
  ///
  /// - Throws: as `update`; `.missingMembers` for a member whose device is not here.
  func setJournalBuckets(_ buckets: [UInt64], of member: Int) throws(VolumeError) {
    try updateContents { contents throws(VolumeError) in
      guard contents.own[member] != nil else {
        throw VolumeError(.missingMembers, "member \(member) is not here: it has no journal")
      }
      guard buckets.count <= WritingSupport.journalBucketsMax else {
        throw VolumeError(.limit, "a journal of \(buckets.count) buckets is too long")
      }
      contents.own[member] =
        buckets.isEmpty ? [] : [.journalV2(JournalBucketRangesSection(buckets: buckets))]
    }
  }

  // MARK: What is counted between writes

  /// Counts a finding of a check; durable with the next write.
  func recordFinding(_ id: FsckErrorID, count: UInt64 = 1) {
    let time = Self.seconds(clocks)
    findings.withLock { $0.record(id, count: count, time: time) }
  }

  /// Findings since the volume was made.
  var findingCounts: [ErrorCount] { findings.withLock { $0.counts } }

  /// Something is wrong with the volume, or with the shape of its btrees: the next write says so,
  /// and the next mount looks for it.
  func noteInconsistency(ofTopology: Bool = false) {
    hasErrors.store(true, ordering: .relaxed)
    if ofTopology { hasTopologyErrors.store(true, ordering: .relaxed) }
  }

  /// The same, durable when it returns, with what was found before.
  func recordInconsistency() throws(VolumeError) {
    noteInconsistency()
    try write()
  }

  /// Whether something is known to be wrong with the volume, since it was checked last.
  var isInconsistent: Bool { hasErrors.load(ordering: .relaxed) }

  /// The btrees' roots are known: from here on the list for downgrades is written.
  func noteBTreesRunning(hasStripes: Bool) {
    stripes.store(hasStripes ? Stripes.some : Stripes.none, ordering: .relaxed)
  }

  /// Findings were looked for, and there are none any more.
  fileprivate func forgetInconsistencies() {
    hasErrors.store(false, ordering: .relaxed)
    hasTopologyErrors.store(false, ordering: .relaxed)
  }
}

// MARK: - What volumes go through

extension SuperblockStore {
  /// From here on the journal counts (`bch2_fs_mark_dirty`). Always writes, so that somebody else's
  /// writing is noticed before anything else is written.
  func markDirty() throws(VolumeError) {
    try update { $0.markDirty() }
  }

  /// Nothing is left to replay (`bch2_fs_mark_clean`). All else is flushed; what the journal wrote
  /// last is durable.
  func markClean(_ clean: CleanState) throws(VolumeError) {
    if superblock.isClean { return }
    try update { $0.markClean(clean) }
  }

  /// What recovery begins with: raises the version as far as `policy` asks for, and notes what is
  /// to be done for that, and for errors of topology that were found earlier.
  ///
  /// - Parameter policy: `.none` unless the caller asked for more (`VolumeOpener.policy`).
  /// - Returns: The upgrade, nil for none. What its steps ask for where there are stripes is added
  ///   once that is known (`require`).
  func beginRecovery(_ policy: VersionUpgradePolicy) throws(VolumeError) -> VersionUpgrade? {
    var changed = superblock
    let upgrade = VersionUpgrade(changed, policy: policy)
    if changed[Superblock.Layout.hasTopologyErrors] != 0 {
      changed.require(VersionStep.Demand(passes: [.checkTopology]))
    }
    let isDue = upgrade != nil || changed != superblock
    guard isDue else { return nil }
    try update { superblock in
      if superblock[Superblock.Layout.hasTopologyErrors] != 0 {
        superblock.require(VersionStep.Demand(passes: [.checkTopology]))
      }
      if let upgrade { superblock.apply(upgrade, hasStripes: false) }
    }
    return upgrade
  }

  /// Asks for passes, and for findings to be mended without a word.
  func require(_ demand: VersionStep.Demand) throws(VolumeError) {
    try update { $0.require(demand) }
  }

  /// Asks for passes that the next recovery has to run, if this one does not come to it.
  func requirePasses(_ passes: PersistentMask<RecoveryPass>) throws(VolumeError) {
    if superblock.requiredPasses.isSuperset(of: passes) { return }
    try update { $0.require(VersionStep.Demand(passes: passes)) }
  }

  /// A pass that was required is done.
  func completePass(_ pass: RecoveryPass) throws(VolumeError) {
    guard superblock.requiredPasses.contains(pass) else { return }
    try update { superblock in
      superblock.changeExt { $0.recoveryPassesRequired[0] &= ~(1 << UInt64(pass.rawValue)) }
    }
  }

  /// Recovery is through; see `Superblock.finishRecovery`.
  func finishRecovery(foundErrors: Bool, wasChecked: Bool) throws(VolumeError) {
    if wasChecked && !foundErrors { forgetInconsistencies() }
    var changed = superblock
    changed.finishRecovery(foundErrors: foundErrors, wasChecked: wasChecked)
    guard changed != superblock else { return }
    try update { $0.finishRecovery(foundErrors: foundErrors, wasChecked: wasChecked) }
  }

  /// Adds journal sequence numbers to ignore.
  func blacklist(_ range: Range<UInt64>) throws(VolumeError) {
    try update { $0.blacklist(range) }
  }

  /// Replaces the list of journal sequence numbers to ignore.
  func setBlacklist(_ ranges: [Range<UInt64>]) throws(VolumeError) {
    try update { $0.setBlacklist(ranges) }
  }

  // MARK: Members

  /// Changes a member.
  ///
  /// - Throws: as `update`; `.notFound` for a slot without a device.
  func changeMember(
    _ index: Int, _ change: (inout Member) -> Void
  ) throws(VolumeError) {
    try update { superblock throws(VolumeError) in
      guard superblock.member(at: index)?.isAlive == true else {
        throw VolumeError(.notFound, "there is no member \(index)")
      }
      superblock.changeMembers { change(&$0[index]) }
    }
  }

  /// What a device is used for from now on.
  func setState(_ state: MemberState, ofMember index: Int) throws(VolumeError) {
    try changeMember(index) { $0.state = state }
  }

  /// From now on errors of a member are counted from zero again; those since the volume was made
  /// are kept (`bch2_dev_errors_reset`).
  func resetErrors(ofMember index: Int) throws(VolumeError) {
    let time = UInt64(clamping: clocks.wallNanoseconds() / 1_000_000_000)
    let counts = memberErrors.counts(member: index)
    try changeMember(index) { member in
      member.errorsAtReset = counts
      member.errorsResetTime = time
    }
  }

  /// Whether these sectors are on disk as such that may hold btree nodes.
  func isBTreeMarked(_ sectors: Range<UInt64>, ofMember index: Int) -> Bool {
    superblock.member(at: index)?.isBTreeMarked(sectors) ?? true
  }

  /// Marks sectors that will hold btree nodes, durably; nothing is written where they are marked
  /// already.
  ///
  /// - Parameter places: Of one node: members and sectors.
  /// - Returns: Whether a superblock was written.
  @discardableResult
  func markBTree(_ places: [(member: Int, sectors: Range<UInt64>)]) throws(VolumeError) -> Bool {
    let current = superblock.members
    let missing = places.filter { place in
      current.indices.contains(place.member)
        && !current[place.member].isBTreeMarked(place.sectors)
    }
    guard !missing.isEmpty else { return false }
    try update { superblock in
      superblock.changeMembers { members in
        for place in missing { members[place.member].markBTree(place.sectors) }
      }
    }
    return true
  }
}
