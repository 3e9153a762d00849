// SPDX-License-Identifier: GPL-2.0
// Volumes of our image builder that the driver then aged: we read back what it shows of them.
//
// How it works
//   1. A volume is built, and aged in a guest (age.py), for seconds in the short run, for minutes
//      in the long one. It is unmounted, or the guest loses its power in the middle.
//   2. The driver mounts copies, recovers them where it must, and lists the tree.
//   3. `get` and `export | tar x` of the originals give the same tree, a mount shows it, and none
//      of them changes a bit.
//      What a crash of the driver has cost, in its own eyes, is lost for us too, and named.
//   4. Of the copies, which are clean now, our listings are the driver's (in the short run of one).

internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"), .serialized)
struct AgedVolumeTests {
  /// A volume to age.
  struct Ageing: Sendable, CustomTestStringConvertible {
    let variant: ImageVariant
    var losesPower = false
    var seed = 1

    var testDescription: String {
      "\(variant.name), seed \(seed)\(losesPower ? ", power lost" : "")"
    }
  }

  private static let variants: [ImageVariant] = [
    ImageVariant("plain"),
    ImageVariant("two replicas").with {
      $0.devices = [ImageVariant.Device(), ImageVariant.Device()]
      $0.options = ["data_replicas=2", "metadata_replicas=2"]
    },
    ImageVariant("encrypted").with { $0.passphrase = "correct horse" },
    ImageVariant("zstd").with { $0.options = ["compression=zstd"] },
    ImageVariant("small nodes").with {
      $0.options = ["btree_node_size=64k"]
      $0.devices = [ImageVariant.Device(bucketBytes: 128 << 10)]
    },
  ].map { variant in variant.with { $0.sizeBytes = 512 << 20 } }

  /// In the short run every other one loses its power.
  static let all: [Ageing] = variants.enumerated().flatMap { index, variant in
    let short = [Ageing(variant: variant, losesPower: index % 2 == 1)]
    guard runsLongTests else { return short }
    return [false, true].map { losesPower in
      Ageing(variant: variant, losesPower: losesPower, seed: losesPower ? 2 : 1)
    }
  }

  private static let seconds = runsLongTests ? 120 : 4

  @Test(.enabled(if: isRoot, "only root can make all that is in the volume"), arguments: all)
  func whatTheDriverAgedReadsAsItShows(ageing: Ageing) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(at: "\(folder)/tree", seed: 3, scale: .tiny, files: 40)
      let images = try ageing.variant.build(tree, in: folder)
      let passphrase = ageing.variant.passphrase
      try age(images, ageing)
      let command = try CommandOnVolume(images: images, passphrase: passphrase, folder: folder)
      let isClean = try command.superblock()["clean"] as? Bool
      #expect(isClean == !ageing.losesPower)

      let copies = images.map { "\($0).copy" }
      for (image, copy) in zip(images, copies) {
        try runProgramOrThrow("cp", ["--sparse=always", image, copy])
      }
      let shown = try KernelGuest.run(
        job: #". "$JOB_GUEST/manifest.sh""#, images: copies,
        environment: ["JOB_PASSPHRASE": passphrase ?? ""], timeoutSeconds: 600)
      try #require(shown.status == 0, "\(shown.result.standardError)\(shown.log)")
      #expect(shown.manifest.count > 100)

      let hashes = try runProgramOrThrow("sha256sum", images).text
      try expectCopies(of: command, are: shown.manifest)
      if CommandOnVolume.canMount { try expectMount(of: command, shows: shown.manifest) }
      #expect(try runProgramOrThrow("sha256sum", images).text == hashes)
      guard runsLongTests || ageing.variant.name == "plain" else { return }
      try CommandOnVolume(images: copies, passphrase: passphrase, folder: folder)
        .expectDriversView(passphrase: passphrase, folder: folder)
    }
  }

  private func age(_ images: [String], _ ageing: Ageing) throws {
    let outcome = try KernelGuest.run(
      job: #". "$JOB_GUEST/age.sh""#, images: images,
      environment: [
        "JOB_PASSPHRASE": ageing.variant.passphrase ?? "", "JOB_SEED": "\(ageing.seed)",
        "JOB_SECONDS": "\(Self.seconds)", "JOB_CUT": ageing.losesPower ? "1" : "",
      ], timeoutSeconds: Self.seconds + 400)
    let said = outcome.result.standardError
    // 125: the guest went away without ending the job.
    try #require(outcome.status == (ageing.losesPower ? 125 : 0), "\(said)\(outcome.log)")
    #expect(said.contains("age.py: seed \(ageing.seed): "), "\(said)")
    // A volume that went read-only did not age.
    #expect(!outcome.log.lines.contains { $0.contains("emergency read only") }, "\(outcome.log)")
  }

  private func expectMount(of command: CommandOnVolume, shows shown: [String]) throws {
    let result = try runProgram(
      "bash",
      [
        "-c",
        """
        mkdir "$MOUNT" && "$@" "$MOUNT" && trap 'fusermount3 -u -z "$MOUNT"' EXIT
        python3 "$SCRIPTS/manifest.py" --past-errors "$MOUNT"
        """, "bash", builtProgram("bcachefs"), "mount", "-o", "ro",
      ] + command.unlocking + [command.volume],
      environment: ["MOUNT": "\(command.folder)/mount", "SCRIPTS": KernelGuest.scripts],
      timeoutSeconds: 600)
    #expect(result.status == 0, "mount: \(result.standardError)")
    let seen = result.text.split(separator: "\n").map(String.init)
    #expect(manifestDifference(expected: shown, seen: seen) == [], "mount")
  }

  private func expectCopies(of command: CommandOnVolume, are shown: [String]) throws {
    let program = builtProgram("bcachefs")
    try withRoomyFolder { target in
      let result = try runProgram(
        program, ["get"] + command.unlocking + [command.volume, "/", "\(target)/out"],
        timeoutSeconds: 1200)
      try expect(result, "get", gave: "\(target)/out", of: shown, withSockets: true)
    }
    try withRoomyFolder { target in
      let result = try runProgram(
        "bash",
        [
          "-c",
          """
          set -o pipefail
          "$@" | tar -x -p --xattrs --xattrs-include='*' --acls --numeric-owner -C \(target)
          """, "bash", program, "export",
        ] + command.unlocking + [command.volume], timeoutSeconds: 1200)
      try expect(result, "export", gave: target, of: shown, withSockets: false)
    }
  }

  /// What came out is what the driver showed; what the driver could not read is named.
  private func expect(
    _ result: ProgramResult, _ name: String, gave folder: String, of shown: [String],
    withSockets: Bool
  ) throws {
    func path(_ line: String) -> Substring { line.prefix { $0 != "\t" } }
    let lost = Set(shown.filter { $0.contains("\tunreadable\t") }.map(path))
    #expect(result.status == (lost.isEmpty ? 0 : 65), "\(name): \(result.standardError)")
    for file in lost {
      #expect(result.standardError.contains("\(file): bytes "), "\(name) names \(file)")
    }
    func readable(_ lines: [String]) -> [String] {
      comparableManifest(lines.filter { !lost.contains(path($0)) }, withSockets: withSockets)
    }
    let difference = manifestDifference(
      expected: readable(shown), seen: readable(try manifest(of: folder)))
    #expect(difference == [], "\(name)")
  }
}
