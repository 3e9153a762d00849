// SPDX-License-Identifier: GPL-2.0
// What the check says of a volume, for tests of whatever should leave it sound.

internal import BcachefsIO
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

extension Volume {
  /// Each finding of a check with its pass and kind.
  func findings(_ options: CheckOptions = CheckOptions()) throws -> [String] {
    var findings: [String] = []
    var events = CheckEvents()
    events.finding = { findings.append("\($0.pass) \($0.id): \($0.text)") }
    let counts = try check(options, events)
    #expect(counts.values.reduce(0, +) == findings.count)
    return findings
  }
}

/// The check finds nothing to say about what is on a device, as it is.
func expectSound(_ image: SimulatedDevice, _ comment: Comment = "") throws {
  let device = try BlockDevice.open(simulated: image, mode: .readOnly)
  defer { try? device.close() }
  let findings = try Volume(media: VolumeOpener.open(devices: [device])).findings()
  #expect(
    findings.isEmpty,
    "\(comment): \(findings.count)\n\(findings.prefix(6).joined(separator: "\n"))")
}
