// SPDX-License-Identifier: GPL-2.0
// Volumes that were only formatted: Linux initialises them, fills them, and finds nothing to mend.

internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct EmptyVolumeTests {
  private static let job = """
    set -eu
    . "$JOB_GUEST/common.sh"
    unlock_if_encrypted
    mount_volume rw /mnt/a
    python3 "$JOB_GUEST/mktree.py" /mnt/a/tree --tiny --files 60 --seed 5
    sync
    write_manifest /mnt/a/tree >/mnt/b/written
    umount /mnt/a
    mount_volume ro,fsck,errors=continue /mnt/a
    write_manifest /mnt/a/tree >/mnt/b/read
    umount /mnt/a
    cmp /mnt/b/written /mnt/b/read >&2
    """

  @Test(arguments: [
    "--fs_label=empty a.img",
    "--block_size=512 --btree_node_size=64k --bucket=128k a.img",
    "--compression=zstd --metadata_checksum=xxhash --data_checksum=crc64 --str_hash=crc32c a.img",
    "--replicas=2 --label=ssd a.img --label=hdd b.img --foreground_target=ssd "
      + "--background_target=hdd --promote_target=ssd",
    "--encrypted --passphrase_file=secret a.img",
    "--encrypted --no_passphrase --superblock_size=256k a.img b.img",
    "--fs_size=100M a.img --fs_size=160M --durability=2 b.img",
  ])
  func linuxInitialisesAFormattedVolume(arguments: String) throws {
    try withTemporaryFolder { folder in
      let words = arguments.split(separator: " ").map(String.init)
      let images = ["a.img", "b.img"].filter(words.contains)
      for image in images {
        try runProgramOrThrow("truncate", ["-s", "192M", "\(folder)/\(image)"])
      }
      try writeFile("\(folder)/secret", Array("correct horse\n".utf8))
      try runProgramOrThrow(
        builtProgram("bcachefs"), ["format", "--quiet"] + words, folder: folder)
      let needsPassphrase = words.contains("--passphrase_file=secret")
      let outcome = try KernelGuest.run(
        job: Self.job, images: images.map { "\(folder)/\($0)" },
        environment: ["JOB_PASSPHRASE": needsPassphrase ? "correct horse" : ""])
      #expect(outcome.complaints == [], "\(outcome.log)")
      #expect(outcome.log.lines.contains { $0.hasSuffix("initializing new filesystem") })
    }
  }
}
