// SPDX-License-Identifier: GPL-2.0
// Which devices data goes to first: what the target options name.

internal import BcachefsFormat
internal import BcachefsSupport

struct DiskTargets {
  private let format: VolumeFormat
  private let volume: FormattedVolume
  private let spaces: [BucketSpace]

  init(format: VolumeFormat, volume: FormattedVolume, spaces: [BucketSpace]) {
    self.format = format
    self.volume = volume
    self.spaces = spaces
  }

  /// A write point for `type`, with the devices of a target first and all others that may hold that
  /// type as a last resort.
  ///
  /// - Parameters:
  ///   - options: The first of these that names a target counts.
  func writePoint(
    _ type: DataType, targets options: [VolumeOption], replicas: UInt64
  ) -> ImageWritePoint {
    let allowed = spaces.filter { format.devices[Int($0.device)].dataAllowed.contains(type) }
    let target = options.lazy.map { DiskTarget(rawValue: UInt16(volume.options[$0])) }
      .first { $0 != .none }
    let named = target.map(devices) ?? Set(allowed.map(\.device))
    return ImageWritePoint(
      type: type, preferred: allowed.filter { named.contains($0.device) },
      others: allowed.filter { !named.contains($0.device) }, replicas: Int(max(replicas, 1)))
  }

  private func devices(_ target: DiskTarget) -> Set<UInt8> {
    switch target.kind {
    case .none: return []
    case .device(let index): return [index]
    case .label(let group):
      let members =
        volume.superblock.section(of: DiskGroupsSection.self)?
        .members(of: group, among: volume.superblock.members) ?? []
      return Set(spaces.map(\.device).filter { members.contains(Int($0)) })
    }
  }
}
