// SPDX-License-Identifier: GPL-2.0
// What has to be true of a volume that a mount changed, and left.

internal import Foundation
internal import TestSupport
internal import Testing

extension ChangingMountTests.Setting {
  /// Our check finds nothing.
  func expectSound(_ images: [String]) throws {
    var words = ["fsck", "-n", "--file_counters"]
    if passphrase != nil {
      let folder = (images[0] as NSString).deletingLastPathComponent
      words.append("--passphrase_file=\(folder)/format-passphrase")
    }
    let check = try runProgram(builtProgram("bcachefs"), words + images, timeoutSeconds: 600)
    #expect(check.status == 0, "\(check.text)\(check.standardError)")
  }

  /// Our check finds nothing, a mount that only reads shows the same, and so does the driver, whose
  /// check finds nothing either.
  func expect(_ manifest: [String], _ images: [String]) throws {
    try expectSound(images)
    do {
      let mount = try self.mount(images, isChanged: false)
      let seen = try mount.manifest()
      let isSame = seen == manifest
      #expect(isSame, "\(manifestDifference(expected: manifest, seen: seen))")
      try mount.end()
    }
    guard KernelGuest.isAvailable else { return }
    let outcome = try KernelGuest.check(images: images, passphrase: passphrase)
    #expect(outcome.complaints == [])
    #expect(outcome.status == 0, "\(outcome.result.standardError)")
    let isSame = outcome.lines.filter { !$0.isEmpty } == manifest
    #expect(isSame, "\(manifestDifference(expected: manifest, seen: outcome.manifest))")
  }
}
