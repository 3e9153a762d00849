// SPDX-License-Identifier: GPL-2.0
// From the name of a volume to devices with superblocks, all opened read-only.
//
// How it works
//   Paths are what the caller vouches for: each must open and hold a superblock, which is searched
//   for if it is not in its place. With `degraded` one whose superblocks are all lost is left out,
//   like a member that is not there. By UUID and label every device of the machine is looked at, in
//   the usual places only, and what is no member is passed over.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

enum VolumeDiscovery {
  /// Every device that the sources name, with its superblock.
  ///
  /// - Throws: `.device`, `.notAVolume`, `.unsupported` for paths; `.notFound` when no device has
  ///   the UUID or label; `.foreignMember` when several volumes have it.
  static func devices(
    of sources: VolumeSources, options: VolumeOptions
  ) throws(VolumeError) -> [DeviceSuperblock] {
    switch sources.selector {
    case .paths(let paths):
      return try named(paths, options)
    case .uuid(let uuid):
      return try matching(sources, options) { $0.userUUID == uuid }
    case .label(let label):
      return try matching(sources, options) { !$0.label.isEmpty && $0.label.text == label }
    }
  }

  private static func named(
    _ paths: [String], _ options: VolumeOptions
  ) throws(VolumeError) -> [DeviceSuperblock] {
    let isDegraded = options.isOn(.degraded) || options.isOn(.veryDegraded)
    var found: [DeviceSuperblock] = []
    var leftOut: [VolumeError] = []
    for path in paths {
      do throws(VolumeError) {
        found.append(try device(at: path, options: options, searching: true))
      } catch {
        guard error.code == .notAVolume, paths.count > 1 else { throw error }
        guard isDegraded else {
          throw VolumeError(
            .notAVolume,
            "\(error); if it is a member whose superblocks are lost, leave it out and open the "
              + "volume with the option degraded")
        }
        leftOut.append(error)
      }
    }
    guard let first = found.first else {
      throw leftOut.first ?? VolumeError(.notFound, "no device was named")
    }
    found[0] = DeviceSuperblock(
      device: first.device, superblock: first.superblock,
      warnings: leftOut.map { "\($0): it was left out" } + first.warnings)
    return found
  }

  private static func device(
    at path: String, options: VolumeOptions, searching: Bool
  ) throws(VolumeError) -> DeviceSuperblock {
    let device: BlockDevice
    do throws(DeviceError) {
      device = try BlockDevice.open(path: path, mode: .readOnly)
    } catch {
      throw VolumeError(error)
    }
    return try SuperblockCopies.read(
      device, firstSector: options[.sb], searching: searching)
  }

  private static func matching(
    _ sources: VolumeSources, _ options: VolumeOptions, _ isWanted: (Superblock) -> Bool
  ) throws(VolumeError) -> [DeviceSuperblock] {
    var paths = sources.imageFiles
    if sources.includesBlockDevices, let listing = try? DeviceListing.all() {
      paths += listing.map(\.path)
    }
    var found: [DeviceSuperblock] = []
    var refusals: [VolumeError] = []
    for path in paths {
      do throws(VolumeError) {
        let device = try device(at: path, options: options, searching: false)
        if isWanted(device.superblock) { found.append(device) }
      } catch {
        if error.code == .device { refusals.append(error) }
      }
    }
    guard let first = found.first else { throw nothingFound(sources, paths.count, refusals) }
    if let other = found.first(where: { $0.superblock.uuid != first.superblock.uuid }) {
      throw VolumeError(
        .foreignMember,
        "\(sources) names more than one volume: \(first.device.name) belongs to "
          + "\(first.superblock.uuid) (internal UUID), \(other.device.name) to "
          + "\(other.superblock.uuid); name the devices by their paths")
    }
    return found
  }

  private static func nothingFound(
    _ sources: VolumeSources, _ count: Int, _ refusals: [VolumeError]
  ) -> VolumeError {
    var text = "no device of volume \(sources) among \(count) devices"
    if let first = refusals.first {
      text += "; \(refusals.count) of them could not be opened, as in: \(first)"
    } else {
      text += "; connect it, or name its devices by their paths"
    }
    return VolumeError(.notFound, text)
  }
}
