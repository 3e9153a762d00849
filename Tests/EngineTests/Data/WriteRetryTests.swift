// SPDX-License-Identifier: GPL-2.0
// Data whose first device does not take it goes to another one, as it was.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

@Suite struct WriteRetryTests {
  /// One copy of data on two devices, stored in a way.
  private static func setting(
    _ name: String, _ configure: (inout FreshVolume) -> Void
  ) -> FreshVolume {
    FreshVolume(testDescription: name) {
      $0.sizes = [64 << 20, 64 << 20]
      $0.build.options[.metadataReplicas] = 2
      configure(&$0)
    }
  }

  private static let settings: [FreshVolume] = [
    setting("plain") { _ in },
    setting("zstd") { $0.build.options[.compression] = 3 },
    setting("encrypted") {
      $0.build.encryption = .passphrase(Array("secret".utf8))
      $0.passphrase = "secret"
    },
    setting("encrypted, lz4") {
      $0.build.encryption = .passphrase(Array("secret".utf8))
      $0.passphrase = "secret"
      $0.build.options[.compression] = 1
    },
  ]

  /// Noise, or what compresses.
  private static func bytes(_ count: Int, seed: UInt64, areNoise: Bool) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { UInt8(truncatingIfNeeded: areNoise ? random.next() : UInt64($0 / 99)) }
  }

  @Test(arguments: settings, [0, 1])
  func dataThatOneDeviceDoesNotTakeIsWholeOnTheOther(setting: FreshVolume, failing: Int) throws {
    let devices = try setting.format()
    let files = FileSystem(try setting.engine(on: devices).engine)
    var written: [(file: FileID, bytes: [UInt8])] = []
    for number in 0..<8 {
      let bytes = Self.bytes(300_000, seed: UInt64(number), areNoise: number % 2 == 0)
      written.append((try files.makeFile("file \(number)"), bytes))
    }
    try files.sync()
    devices[failing].setFaults([SimulatedFaultRule(.writeError)])
    for (file, bytes) in written {
      try files.write(file, bytes.rawBytes, at: 0)
      try files.fsync(file)
    }
    #expect(files.engine.failures.mask == 1 << UInt64(failing))
    for (file, bytes) in written { #expect(try files.contents(of: file) == bytes) }
    try files.close()
  }
}
