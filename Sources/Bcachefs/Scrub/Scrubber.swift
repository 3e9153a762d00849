// SPDX-License-Identifier: GPL-2.0
// A scrub under way: phase by phase, window by window.
//
// How it works
//   1. Superblocks and journals come first, then the nodes of all btrees, then what extents and
//      reflink btrees point to, then the blocks of stripes, which must be good to rebuild others.
//   2. ScrubWalk puts copies into a window; when it is full, each device's copies are read by
//      threads of its own (DeviceSweep): one where there are seeks, several where there are none.
//   3. What had a bad copy is read again as any reader would: that decides whether it is lost.
//   4. After each window the state is handed out: a scrub that starts from it goes on there.
// Invariants
//   (1) A window is in the state as a whole, or not at all.
//   (2) Damage never ends a scrub.
// Locks: none; sweeps share nothing but an atomic count.
// Source: data/move.c (bch2_scrub) reads by backpointers, device by device; here the keys
// themselves say what there is, so that a volume with damaged backpointers is scrubbed too.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Synchronization

/// Sectors of the window that is being read.
private final class SectorCount: Sendable {
  let value = Atomic<UInt64>(0)
}

final class Scrubber {
  /// Threads for a device without seeks.
  private static let threadsPerDevice = 4
  private static let threadsMax = 64

  let volume: Volume
  var state: ScrubState
  let events: ScrubEvents
  var window: ScrubWindow
  private let judge: ScrubJudge
  private let total: UInt64
  private let underway = SectorCount()

  init(
    _ volume: Volume, _ state: ScrubState, _ events: ScrubEvents,
    entriesMax: Int = ScrubWindow.entriesMax
  ) {
    window = ScrubWindow(entriesMax: entriesMax)
    self.volume = volume
    self.state = state
    self.events = events
    judge = ScrubJudge(volume)
    total = volume.bytesToScrub(state.options)
  }

  var media: VolumeMedia { volume.media }

  func run() -> ScrubState {
    while !state.isFinished {
      guard !events.shouldStop() else { return state }
      tellProgress()
      let isComplete: Bool
      switch state.phase {
      case .superblocks: isComplete = checkSuperblocks()
      case .journal: isComplete = checkJournal()
      case .nodes: isComplete = ScrubWalk(self).nodes() && flush(nil)
      case .extents: isComplete = walkData { $0.extents(.extents) }
      case .indirectExtents: isComplete = walkData { $0.extents(.reflink) }
      case .stripes: isComplete = walkData { $0.stripes() }
      case .names:
        judge.nameFiles(in: &state.findings)
        isComplete = true
      case .done: isComplete = true
      }
      guard isComplete, let next = ScrubPhase(rawValue: state.phase.rawValue + 1) else {
        return state
      }
      state.begin(next)
      events.checkpoint(state)
    }
    return state
  }

  private func walkData(_ walk: (ScrubWalk) -> Bool) -> Bool {
    state.options.isMetadataOnly || (walk(ScrubWalk(self)) && flush(nil))
  }

  /// Whether copies on a device are looked at.
  func isWanted(_ device: UInt8) -> Bool {
    state.options.device == nil || state.options.device == device
  }

  func report(_ finding: ScrubFinding) {
    state.add(finding)
    events.finding(finding)
  }

  private func tellProgress() {
    let sectors = state.checkedSectors &+ underway.value.load(ordering: .relaxed)
    events.progress(
      ScrubProgress(
        phase: state.phase, checkedBytes: ScrubState.byteCount(ofSectors: sectors),
        totalBytes: total))
  }

  // MARK: - Windows

  /// Reads what is in the window, if it is full; with nil in any case.
  ///
  /// - Parameter place: Where a scrub goes on behind it.
  /// - Returns: False if the scrub is to stop: then the window does not count.
  func flush(_ place: ScrubState.Place?) -> Bool {
    guard !events.shouldStop() else { return false }
    guard window.isFull || place == nil else { return true }
    let failures = sweep().sorted { $0.copy < $1.copy }
    guard !events.shouldStop() else { return false }
    count()
    let failed = Dictionary(grouping: failures) { window.copies[$0.copy].subject }
    for finding in window.findings { report(finding) }
    for (subject, note) in window.bare {
      if let finding = judge.finding(subject, [], in: window, note: note) { report(finding) }
    }
    for subject in failed.keys.sorted() {
      if let finding = judge.finding(subject, failed[subject] ?? [], in: window) {
        report(finding)
      }
    }
    window.removeAll()
    if let place {
      state.place = place
      events.checkpoint(state)
    }
    return true
  }

  /// Reads and verifies all copies in the window.
  private func sweep() -> [ScrubFailure] {
    underway.value.store(0, ordering: .relaxed)
    defer { underway.value.store(0, ordering: .relaxed) }
    var slices: [ArraySlice<Int>] = []
    for (device, list) in window.inDeviceOrder() {
      let hasSeeks = media.device(device)?.isRotational ?? true
      let parts = hasSeeks ? 1 : min(Self.threadsPerDevice, max(1, list.count / 64))
      for part in 0..<parts {
        slices.append(list[list.count * part / parts..<list.count * (part + 1) / parts])
      }
    }
    let (window, media) = (self.window, self.media)
    let decoder = volume.forest.nodes.decoder
    let (phase, done, total) = (state.phase, state.checkedSectors, self.total)
    let progress = events.progress
    let shouldStop = events.shouldStop
    let underway = self.underway
    let advance: @Sendable (UInt64) -> Void = { sectors in
      let now = underway.value.add(sectors, ordering: .relaxed).newValue
      progress(
        ScrubProgress(
          phase: phase, checkedBytes: ScrubState.byteCount(ofSectors: done &+ now),
          totalBytes: total))
    }
    let pool = WorkerPool(workers: max(1, min(slices.count, Self.threadsMax)))
    var next = 0
    var failures: [ScrubFailure] = []
    pool.orderedMap(
      window: max(slices.count, 1),
      produce: { () -> ArraySlice<Int>? in
        guard next < slices.count else { return nil }
        next += 1
        return slices[next - 1]
      },
      transform: { (slice: ArraySlice<Int>, _) -> [ScrubFailure] in
        var sweep = DeviceSweep(
          window: window, media: media, decoder: decoder, progress: advance,
          shouldStop: shouldStop)
        return sweep.run(slice)
      },
      consume: { (found: [ScrubFailure]) in failures += found })
    return failures
  }

  private func count() {
    for (device, count) in window.missing where state.devices.indices.contains(Int(device)) {
      state.devices[Int(device)].missingCopies &+= count
    }
    for copy in window.copies {
      let counted = UInt64(copy.countedSectors)
      let index = Int(copy.device)
      switch copy.dataType {
      case .btree: state.devices[index].metadataSectors &+= counted
      case .cached: state.devices[index].cachedSectors &+= counted
      case .parity: state.devices[index].paritySectors &+= counted
      default: state.devices[index].dataSectors &+= counted
      }
    }
  }

  // MARK: - Superblocks and journal

  private func checkSuperblocks() -> Bool {
    for (index, device) in media.devices.enumerated() {
      guard let device, isWanted(UInt8(index)) else { continue }
      var problems: [String] = []
      do throws(VolumeError) {
        let first = media.options[.sb]
        let copies = try SuperblockCopies.read(device, firstSector: first, searching: false)
        let prefix = "\(device.name): "
        problems = copies.warnings.map {
          $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : $0
        }
      } catch {
        problems = ["\(error)"]
      }
      for problem in problems {
        let copy = ScrubFinding.BadCopy(
          device: UInt8(index), sector: 0, sectorCount: 0, isCached: false, problem: problem)
        report(ScrubFinding(.superblock, .repairable, copies: [copy]))
      }
    }
    return true
  }

  private func checkJournal() -> Bool {
    guard state.options.device == nil else { return true }
    var options = JournalReader.Options()
    options.readsEvenIfClean = true
    let isClean = media.superblock.isClean
    do throws(VolumeError) {
      for warning in try JournalReader.read(media, options: options).warnings {
        guard let outcome = Self.outcome(of: warning, isClean: isClean) else { continue }
        report(ScrubFinding(.journal, outcome, copies: [], note: "\(warning)"))
      }
    } catch {
      report(ScrubFinding(.journal, isClean ? .harmless : .lost, copies: [], note: "\(error)"))
    }
    return true
  }

  /// What a warning of the journal's reader means; nil if nothing is damaged.
  private static func outcome(
    of warning: JournalWarning, isClean: Bool
  ) -> ScrubFinding.Outcome? {
    switch warning {
    case .badCopies, .contradictingCopies: isClean ? .harmless : .repairable
    case .bucketUnread: isClean ? .harmless : .repairable
    case .damaged, .missing, .noFlushedEntry, .noEntries, .cleanSectionMissing, .invalidContents,
      .invalidEntry, .invalidBTree:
      isClean ? .harmless : .lost
    case .cleanSequenceMismatch: .harmless
    case .memberUnread, .blacklistedFlush, .more: nil
    }
  }
}
