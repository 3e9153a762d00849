// SPDX-License-Identifier: GPL-2.0
// Volumes of several devices as the driver leaves them: each device missing, mounts without one of
// them, both sides of a split.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct DegradedVolumeTests {
  static let several = SampleVolume.all
    .filter { $0.images.count > 1 }

  @Test(arguments: several)
  func eachMissingDeviceIsNamedAndDegradedDoesWithoutWherePossible(volume: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let paths = try volume.unpack(into: folder)
      let whole = try VolumeOpener.open(VolumeSources(paths: paths))
      for missing in paths.indices {
        var rest = paths
        rest.remove(at: missing)
        let sources = VolumeSources(paths: rest)
        let text = expectError(.missingMembers) { try VolumeOpener.open(sources) }
        #expect(text.contains("1 is missing: member \(missing)"), "\(text)")
        // whatever stands on this device alone, or needs it as one of several
        let entries = whole.superblock.replicas.filter {
          $0.dataType != .cached && $0.devices.contains(UInt8(missing))
            && $0.devices.count - 1 < Int($0.requiredCount)
        }
        if entries.isEmpty {
          let media = try VolumeOpener.open(sources, options: .on(.degraded))
          #expect(media.device(UInt8(missing)) == nil)
        } else {
          let refusal = expectError(.missingMembers) {
            try VolumeOpener.open(sources, options: .on(.degraded))
          }
          #expect(refusal.contains("not enough devices for"), "\(refusal)")
        }
        let media = try VolumeOpener.open(sources, options: .on(.veryDegraded))
        #expect(media.devices.count { $0 != nil } == paths.count - 1)
        #expect(media.warnings.contains { $0.contains("missing: member \(missing)") })
      }
    }
  }

  /// Mounts some of a volume's devices in the guest and writes a file.
  private func writeByLinux(_ images: [String], options: String) throws {
    let job = """
      set -eu
      mount -t bcachefs -o \(options) "$JOB_DEVICES" /mnt/a
      echo more >/mnt/a/more
      sync
      umount /mnt/a
      """
    let outcome = try KernelGuest.run(job: job, images: images)
    try #require(outcome.status == 0, "\(outcome.result.standardError)\n\(outcome.log)")
  }

  private func copies(_ paths: [String], _ suffix: String) throws -> [String] {
    var copies: [String] = []
    for path in paths {
      try writeFile("\(path).\(suffix)", try readFile(path))
      copies.append("\(path).\(suffix)")
    }
    return copies
  }

  @Test(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
  func driversDegradedMountsMakeAbsentStaleAndSplitMembers() throws {
    try withTemporaryFolder { folder in
      let old = try SampleVolume.fixture("replicas").unpack(into: folder)
      let both = try copies(old, "both")
      try writeByLinux(both, options: "rw")
      let left = try copies(old, "left")
      try writeByLinux([left[0]], options: "degraded")
      let right = try copies(old, "right")
      try writeByLinux([right[1]], options: "degraded")

      #expect(try VolumeOpener.open(VolumeSources(paths: both)).warnings == [])
      // 1 was absent while 0 was written: the driver takes it back, so do we
      let rejoined = try VolumeOpener.open(VolumeSources(paths: [left[0], old[1]]))
      #expect(rejoined.warnings.contains { $0.contains("was absent") })
      // 1 is from before a mount in which it was written to
      let stale = expectError(.foreignMember) {
        try VolumeOpener.open(VolumeSources(paths: [both[0], old[1]]))
      }
      #expect(stale.contains("is an old copy of member 1"), "\(stale)")
      for order in [[left[0], right[1]], [right[1], left[0]]] {
        let split = expectError(.splitBrain) {
          try VolumeOpener.open(VolumeSources(paths: order))
        }
        #expect(split.contains("written apart from each other"), "\(split)")
      }
    }
  }
}
