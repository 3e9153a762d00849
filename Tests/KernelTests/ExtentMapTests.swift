// SPDX-License-Identifier: GPL-2.0
// The extents map is what the driver's FIEMAP says, for every file and every copy.

internal import Bcachefs
internal import BcachefsFormat
internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct ExtentMapTests {
  @Test(arguments: SampleVolume.fixtures.filter { $0.passphrase == nil && $0.name != "unclean" })
  func mapOfFixturesIsTheDrivers(sample: SampleVolume) throws {
    try compare(sample)
  }

  @Test(
    .enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"),
    arguments: SampleVolume.corpus.filter {
      ["reflink", "zstd", "nocow", "tiered", "ec", "smallnode"].contains($0.name)
    })
  func mapOfTheCorpusIsTheDrivers(sample: SampleVolume) throws {
    try compare(sample)
  }

  private func compare(_ sample: SampleVolume) throws {
    try withTemporaryFolder { folder in
      let images = try sample.unpack(into: folder)
      // Before the driver mounts it: that may move data on its own.
      let volume = try Volume.open(VolumeSources(paths: images))
      var found: [String] = []
      try collect(volume, volume.root, "", &found)
      let outcome = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          mount_volume ro,norecovery,nochanges /mnt/a
          python3 "$JOB_GUEST/fiemap.py" /mnt/a
          umount /mnt/a
          """, images: images)
      #expect(outcome.status == 0, "\(outcome.result.standardError)")
      #expect(found.count > 20)
      #expect(
        manifestDifference(expected: outcome.manifest.sorted(), seen: found.sorted()) == [])
    }
  }

  private func collect(
    _ volume: Volume, _ directory: FileID, _ path: String, _ lines: inout [String]
  ) throws {
    for entry in try volume.entries(of: directory) {
      let name = path + entry.text.split(separator: "\n").joined(separator: "\\n")
      switch entry.kind {
      case .directory: try collect(volume, entry.id, name + "/", &lines)
      case .regular:
        var end: UInt64 = 0
        var pieces: [[String]] = []
        try volume.open(entry.id).forEachExtent { (extent) throws(VolumeError) in
          #expect(extent.range.lowerBound == end, "\(name)")
          end = extent.range.upperBound
          pieces.append(self.lines(name, extent))
          return true
        }
        // Of a file's last piece FIEMAP tells the first copy only.
        if let last = pieces.lastIndex(where: { !$0.isEmpty }) {
          pieces[last].removeSubrange(1...)
        }
        lines += pieces.joined()
        #expect(end >= (try volume.inode(entry.id).size), "\(name)")
      default: break
      }
    }
  }

  /// As guest/fiemap.py prints it: one line a copy.
  private func lines(_ name: String, _ extent: FileExtent) -> [String] {
    let start = "\(name)\t\(extent.range.lowerBound)\t\(extent.range.count)"
    switch extent.kind {
    case .hole: return []
    case .inline: return ["\(start)\t0\tinline"]
    case .unwritten where extent.copies.isEmpty: return ["\(start)\t0\tunwritten"]
    default:
      return extent.copies.map { copy in
        var words: [String] = []
        // FIEMAP calls what could not be compressed encoded, too, and gives its first sector.
        let isEncoded = copy.compressionType != .none
        if isEncoded { words.append("encoded") }
        if extent.kind == .unwritten { words.append("unwritten") }
        if extent.isShared { words.append("shared") }
        let sector =
          isEncoded && !copy.isCompressed
          ? copy.sector - UInt64(copy.offsetSectors) : copy.sector
        return "\(start)\t\(sector * 512)\t\(words.isEmpty ? "-" : words.joined(separator: ","))"
      }
    }
  }
}
