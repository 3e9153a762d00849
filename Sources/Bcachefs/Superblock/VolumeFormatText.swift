// SPDX-License-Identifier: GPL-2.0
// Sentences about superblocks that cannot be used: versions and features by their names.

internal import BcachefsFormat
internal import BcachefsSupport

enum VolumeFormatText {
  /// What is wrong, with versions and features named.
  static func describe(_ error: FormatError) -> String {
    guard error.reason == .unsupported, "\(error.structure)" == "bch_sb" else { return "\(error)" }
    switch "\(error.field)" {
    case "version": return version(error, "the volume has format version")
    case "version_min": return version(error, "parts of the volume have format version")
    case "version_incompat":
      return version(error, "the volume uses incompatible features of format version")
    case "features":
      let feature = SuperblockFeature(rawValue: UInt8(truncatingIfNeeded: error.found))
      return
        "the volume depends on feature \(error.found) (\(feature)), which this program does not "
        + "know; read it with a newer version"
    default: return "\(error)"
    }
  }

  /// A superblock's time, in seconds since 1970, as in `Sun Nov 22 11:16:49 2026 UTC`.
  static func date(_ seconds: UInt64) -> String {
    "\(DateText.text(seconds: Int64(clamping: seconds))) UTC"
  }

  private static func version(_ error: FormatError, _ beginning: String) -> String {
    let found = MetadataVersion(rawValue: UInt16(truncatingIfNeeded: error.found))
    let range = "\(FormatSupport.oldestReadable.number) to \(FormatSupport.newestReadable.number)"
    let advice =
      found > FormatSupport.newestReadable
      ? "read it with a newer program" : "upgrade it with the program that wrote it"
    return "\(beginning) \(found), and this program reads \(range); \(advice)"
  }
}
