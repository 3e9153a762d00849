// SPDX-License-Identifier: GPL-2.0
// Options of files as extended attributes: the names and values that the driver shows, no more and
// no less.

internal import Bcachefs
internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct FileOptionTests {
  @Test(arguments: ["plain", "replicas"])
  func attributesAreThoseOfTheDriverThatSetThem(fixture: String) throws {
    let seen = try compare(try SampleVolume.fixture(fixture), settingOptions: true)
    #expect(seen.contains("options/compression\tbcachefs.compression\tzstd:3"))
    #expect(seen.contains("options/compression/later\tbcachefs_effective.compression\tzstd:3"))
    #expect(!seen.contains { $0.hasPrefix("options/compression/below\t") })
    #expect(seen.contains("options/compression/later/file\tbcachefs.compression\tnone"))
  }

  @Test(
    .enabled(if: !SampleVolume.corpus.isEmpty, "\(SampleVolume.corpusMissing)"),
    arguments: SampleVolume.corpus.filter { $0.name == "options" || $0.name == "tiered" })
  func attributesOfTheCorpusAreThoseOfTheDriver(volume: SampleVolume) throws {
    let seen = try compare(volume, settingOptions: false)
    if volume.name == "options" { #expect(seen.count > 20) }
  }

  /// Compares what the driver shows with what the engine shows of the same images.
  ///
  /// - Returns: Lines of path, name and value.
  private func compare(_ sample: SampleVolume, settingOptions: Bool) throws -> [String] {
    try withTemporaryFolder { folder in
      let images = try sample.unpack(into: folder)
      let outcome = try KernelGuest.run(
        job: """
          set -eu
          . "$JOB_GUEST/common.sh"
          mount_volume \(settingOptions ? "rw" : "ro") /mnt/a
          python3 "$JOB_GUEST/options.py" /mnt/a \(settingOptions ? "set" : "")
          umount /mnt/a
          """, images: images)
      #expect(outcome.complaints == [])
      let volume = try Volume.open(VolumeSources(paths: images))
      var lines: [String] = []
      try collect(volume, volume.root, "", &lines)
      // The driver names devices as it knows them.
      let names = Dictionary(
        uniqueKeysWithValues: zip(images, ["a", "b", "c", "d"].map { "/dev/ubd\($0)" }))
      let expected = outcome.manifest.sorted()
      let found = lines.map { line in
        let fields = line.split(separator: "\t").map(String.init)
        return (fields.dropLast() + [names[fields[2]] ?? fields[2]]).joined(separator: "\t")
      }.sorted()
      #expect(manifestDifference(expected: expected, seen: found) == [])
      return found
    }
  }

  private func collect(
    _ volume: Volume, _ directory: FileID, _ path: String, _ lines: inout [String]
  ) throws {
    var entries: [DirectoryEntry] = []
    try volume.list(directory) {
      entries.append($0)
      return true
    }
    for entry in entries {
      let name = path + entry.text.split(separator: "\n").joined(separator: "\\n")
      for (attribute, value) in try volume.xattrs(entry.id) {
        let one = try volume.xattr(attribute, of: entry.id)
        #expect(one == value, "\(name)")
        let text = String(decoding: attribute, as: UTF8.self)
        if text.hasPrefix("bcachefs") {
          lines.append("\(name)\t\(text)\t\(String(decoding: value, as: UTF8.self))")
        }
      }
      if entry.type == 4 || entry.type == 16 { try collect(volume, entry.id, name + "/", &lines) }
    }
  }
}
