// SPDX-License-Identifier: GPL-2.0
// Scrubbing: every copy of everything is read and verified, and what is damaged is named.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// How far a scrub is.
public struct ScrubProgress: Sendable {
  /// What is being checked.
  public let phase: ScrubPhase
  /// Bytes checked, as accounting counts them.
  public let checkedBytes: UInt64
  /// What there is to check, by the volume's accounting.
  public let totalBytes: UInt64
}

/// Whom a scrub tells what.
public struct ScrubEvents {
  /// Called several times a second, from any thread.
  public var progress: @Sendable (ScrubProgress) -> Void = { _ in }
  /// Called with what is damaged as it is found, on the calling thread. Names of files that no
  /// inode knows are missing still: the state has them in the end.
  public var finding: (ScrubFinding) -> Void = { _ in }
  /// Called with a state to keep, on the calling thread: a scrub that starts from it goes on there.
  public var checkpoint: (ScrubState) -> Void = { _ in }
  /// Asked often, from any thread: true ends the scrub soon.
  public var shouldStop: @Sendable () -> Bool = { false }

  /// Nobody is told anything.
  public init() {}
}

extension Volume {
  /// A scrub that has not begun.
  public func newScrub(_ options: ScrubOptions = ScrubOptions()) -> ScrubState {
    ScrubState(
      volume: superblock.uuid, superblockNumber: superblock.seq, options: options,
      devices: [ScrubDeviceCounts](repeating: ScrubDeviceCounts(), count: media.devices.count))
  }

  /// Reads every copy of everything and verifies its checksum. Nothing is written.
  ///
  /// What has no checksum is only read. Copies are read in the order of their sectors, on all
  /// devices at the same time; memory does not grow with the volume.
  ///
  /// - Parameter state: `newScrub()`, or what an interrupted scrub of this volume has left.
  /// - Returns: The state at the end; it is not finished if `shouldStop` said so.
  /// - Throws: `.foreignMember` for the state of another volume, `.notFound` for a device that it
  ///   does not have. Damage is never thrown.
  public func scrub(
    _ state: ScrubState, events: ScrubEvents = ScrubEvents()
  ) throws(VolumeError) -> ScrubState {
    guard state.volume == superblock.uuid, state.devices.count == media.devices.count else {
      throw VolumeError(
        .foreignMember,
        "the scrub was begun on volume \(state.volume) (internal UUID), this is \(superblock.uuid)")
    }
    if let device = state.options.device, media.device(device) == nil {
      throw VolumeError(.notFound, "there is no device \(device), or it is missing")
    }
    let scrubber = Scrubber(self, state, events)
    return scrubber.run()
  }

  /// What a scrub has to check, in bytes, by the volume's accounting; 0 if that is unreadable.
  public func bytesToScrub(_ options: ScrubOptions) -> UInt64 {
    guard let counts = try? accounting() else { return 0 }
    var sectors: UInt64 = 0
    for count in counts {
      guard case .deviceDataType(let device, let type) = count.key, count.counters.count > 1,
        options.device ?? device == device, media.device(device) != nil
      else { continue }
      switch DataType(rawValue: type) {
      case .btree: break
      case .user, .cached, .parity, .stripe: if options.isMetadataOnly { continue }
      default: continue
      }
      sectors = sectors &+ UInt64(clamping: count.counters[1])
    }
    return sectors.multipliedReportingOverflow(by: 512).partialValue
  }
}
