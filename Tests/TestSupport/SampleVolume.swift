// SPDX-License-Identifier: GPL-2.0
// Volumes that the real driver wrote, with a manifest of what it showed of them.

/// A volume kept as compressed images: `NAME.img.zst`, or `NAME.0.img.zst`, `NAME.1.img.zst`, ...
public struct SampleVolume: Sendable, CustomStringConvertible {
  public let name: String
  public let folder: String
  /// The compressed images' names, in the devices' order.
  public let images: [String]

  public var description: String { name }

  /// What opens it, where it is encrypted with a passphrase.
  public var passphrase: String? { name == "encrypted" ? "correct horse" : nil }

  /// Small ones that stand in the checkout.
  public static let fixtures = volumes(in: "\(repositoryRoot)/Tests/Fixtures")

  /// The large collection that `BCACHEFS_TEST_CORPUS` names; empty without it.
  public static let corpus = environmentVariable("BCACHEFS_TEST_CORPUS").map(volumes(in:)) ?? []

  /// Volumes of format 1.39, where `BCACHEFS_TEST_CORPUS_NEWEST` names them; empty without it.
  public static let newest =
    environmentVariable("BCACHEFS_TEST_CORPUS_NEWEST").map(volumes(in:)) ?? []

  /// Every volume there is, of whatever format.
  public static let all = fixtures + corpus + newest

  /// Why tests on the volumes of format 1.39 are skipped.
  public static let newestMissing =
    "no newest corpus: BCACHEFS_TEST_CORPUS_NEWEST names its folder"

  /// Why tests on the corpus are skipped.
  public static let corpusMissing = "no corpus: BCACHEFS_TEST_CORPUS names its folder"

  /// The fixture of this name.
  public static func fixture(_ name: String) throws -> SampleVolume {
    guard let volume = fixtures.first(where: { $0.name == name }) else {
      throw ProgramError(description: "there is no fixture \(name)")
    }
    return volume
  }

  private static func volumes(in folder: String) -> [SampleVolume] {
    let names = fileNames(in: folder)
    return names.filter { $0.hasSuffix(".manifest.tsv") }.map { manifest in
      let name = String(manifest.dropLast(".manifest.tsv".count))
      let several = (0..<16).map { "\(name).\($0).img.zst" }.filter(names.contains)
      return SampleVolume(
        name: name, folder: folder, images: several.isEmpty ? ["\(name).img.zst"] : several)
    }
  }

  /// Unpacks the images into `target`.
  ///
  /// - Returns: Their paths, in the devices' order. They are the caller's, to change as it likes.
  public func unpack(into target: String) throws -> [String] {
    try images.map { image in
      let path = "\(target)/\(image.dropLast(".zst".count))"
      try runProgramOrThrow(
        "zstd", ["-q", "-d", "-f", "--sparse", "--long=27", "\(folder)/\(image)", "-o", path])
      return path
    }
  }

  /// The manifest's lines, as the driver showed the tree.
  public func manifest() throws -> [String] {
    String(decoding: try readFile("\(folder)/\(name).manifest.tsv"), as: UTF8.self)
      .split(separator: "\n").map(String.init)
  }
}
