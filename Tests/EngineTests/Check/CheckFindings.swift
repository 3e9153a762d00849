// SPDX-License-Identifier: GPL-2.0
// What the check says of a volume, for tests of whatever should leave it sound.

internal import BcachefsFormat
internal import BcachefsIO
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

extension CheckOptions {
  /// Of volumes that only this version wrote, or a driver as new.
  static var thorough: CheckOptions {
    var options = CheckOptions()
    options.comparesFileCounters = true
    return options
  }
}

extension Volume {
  /// Each finding of a check with its pass and kind.
  ///
  /// - Parameter ofFiles: Those of passes over files too, without which many a test writes extents.
  func findings(
    _ options: CheckOptions = .thorough, ofFiles: Bool = true
  ) throws -> [String] {
    var findings: [String] = []
    var ofOthers = 0
    var events = CheckEvents()
    events.finding = { finding in
      if ofFiles || !CheckedFiles.passes.contains(finding.pass) {
        findings.append("\(finding.pass) \(finding.id): \(finding.text)")
      } else {
        ofOthers += 1
      }
    }
    let counts = try check(options, events)
    #expect(counts.values.reduce(0, +) == findings.count + ofOthers)
    return findings
  }
}

enum CheckedFiles {
  /// The passes over subvolumes and files.
  static let passes = Set(Volume.checkPasses.drop { $0 != .checkSubvols })
}

/// The check finds nothing to say about what is on a device, as it is.
///
/// - Parameter ofFiles: Not about files either.
func expectSound(
  _ image: SimulatedDevice, _ comment: Comment = "", ofFiles: Bool = true
) throws {
  let device = try BlockDevice.open(simulated: image, mode: .readOnly)
  defer { try? device.close() }
  let findings = try Volume(media: VolumeOpener.open(devices: [device]))
    .findings(ofFiles: ofFiles)
  #expect(
    findings.isEmpty,
    "\(comment): \(findings.count)\n\(findings.prefix(6).joined(separator: "\n"))")
}
