// SPDX-License-Identifier: GPL-2.0
// Volumes built in every way there is, before the real driver: its fsck finds nothing, it shows the
// source's tree, and after it has changed the volume fsck still finds nothing.
//
// Invariants under test
//   (1) A volume that was just built gives the driver no cause for a single message.
//   (2) What it shows is the source, line by line of the manifest.
//   (3) What fsck does not look at (free space, counters, allocation information) carries writing:
//       a round of changes ends without complaint.

internal import BcachefsFormat
internal import TestSupport
internal import Testing

/// Builds a volume of `tree`, and has the driver check it, and change it if `changing`.
func expectSound(_ variant: ImageVariant, _ tree: SourceTree, changing: Bool) throws {
  try withTemporaryFolder { folder in
    let images = try variant.build(tree, in: folder)
    let outcome = try KernelGuest.check(images: images, passphrase: variant.passphrase)
    #expect(outcome.complaints == [], "\(variant.name)")
    let difference = manifestDifference(expected: try tree.manifest(), seen: outcome.manifest)
    #expect(difference == [], "\(variant.name)")
    guard changing else { return }
    let round = try KernelGuest.readWriteRound(images: images, passphrase: variant.passphrase)
    #expect(round.complaints == [], "\(variant.name)")
    #expect(round.manifest.contains { $0.hasPrefix("snapshot-ro-by-linux\t") }, "\(variant.name)")
  }
}

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct ImageMatrixTests {
  @Test(arguments: ImageVariant.all)
  func driverFindsNothingToMend(variant: ImageVariant) throws {
    let changing: Bool =
      switch variant.change {
      case .always: true
      case .longOnly: runsLongTests
      case .never: false
      }
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 4)
      try expectSound(variant, tree, changing: changing)
    }
  }

  @Test(arguments: ["compression=none", "compression=lz4"])
  func fullTreeIsSound(option: String) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", scale: .full, files: 300)
      try expectSound(ImageVariant(option: option), tree, changing: runsLongTests)
    }
  }

  // MARK: - In the long run

  @Test(.enabled(if: runsLongTests, "\(longTestsMissing)"), arguments: [2, 3, 5, 7])
  func treeOfAnySeedIsSound(seed: Int) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree", seed: seed, scale: .full, files: 600)
      for option in ["compression=none", "compression=zstd", "btree_node_size=64k"] {
        try expectSound(ImageVariant(option: option), tree, changing: true)
      }
    }
  }

  @Test(
    .enabled(if: runsLongTests, "\(longTestsMissing)"),
    arguments: [ImageVariant("defaults"), ImageVariant(option: "compression=lz4")])
  func systemHeadersAreSound(variant: ImageVariant) throws {
    try expectSound(variant, SourceTree("/usr/include"), changing: true)
  }

  @Test(
    .enabled(if: runsLongTests, "\(longTestsMissing)"),
    arguments: [
      ImageVariant("defaults"),
      ImageVariant("two replicas, zstd, 64 KiB nodes").with {
        $0.devices = [.init(), .init()]
        $0.options = [
          "data_replicas=2", "metadata_replicas=2", "compression=zstd", "btree_node_size=64k",
        ]
      },
    ])
  func twentyThousandFilesAreSound(variant: ImageVariant) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 9, scale: .full, files: 20_000)
      try expectSound(variant, tree, changing: true)
    }
  }
}
