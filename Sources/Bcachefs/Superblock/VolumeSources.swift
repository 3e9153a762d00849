// SPDX-License-Identifier: GPL-2.0
// How a volume is named: by the paths of its devices, or by UUID or label among all devices.

public import BcachefsSupport

/// Where the devices of a volume are to be found.
public struct VolumeSources: Sendable, Equatable {
  /// What is looked for.
  public enum Selector: Sendable, Equatable {
    /// These image files and block devices, in any order, and no others.
    case paths([String])
    /// All devices of the volume with this UUID, the one that `show-super` calls external.
    case uuid(UUID)
    /// All devices of the volume with this label.
    case label(String)
  }

  /// Which of the devices below.
  public var selector: Selector
  /// Image files among which `uuid` and `label` look as well.
  public var imageFiles: [String]
  /// Whether `uuid` and `label` look among the machine's block devices.
  public var includesBlockDevices = true

  /// - Parameter imageFiles: Files that `uuid` and `label` look at besides block devices.
  public init(_ selector: Selector, imageFiles: [String] = []) {
    self.selector = selector
    self.imageFiles = imageFiles
  }

  /// Image files and block devices, in any order.
  public init(paths: [String]) { self.init(.paths(paths)) }

  /// As on command lines and in fstab: `DEV[:DEV...]`, `UUID=...`, `LABEL=...`.
  ///
  /// - Throws: `.notFound` for an empty name, an empty path, or what is no UUID.
  public init(parsing text: String) throws(VolumeError) {
    if text.hasPrefix("UUID=") {
      let name = text.dropFirst("UUID=".count)
      guard let uuid = UUID(String(name)) else {
        throw VolumeError(
          .notFound, "\"\(name)\" is no UUID; one looks like 01234567-89ab-cdef-0123-456789abcdef")
      }
      self.init(.uuid(uuid))
      return
    }
    if text.hasPrefix("LABEL=") {
      self.init(.label(String(text.dropFirst("LABEL=".count))))
      return
    }
    let paths = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard !paths.contains(where: \.isEmpty) else {
      throw VolumeError(
        .notFound, "\"\(text)\" names no device; a volume is DEV[:DEV...], UUID= or LABEL=")
    }
    self.init(.paths(paths))
  }
}

extension VolumeSources: CustomStringConvertible {
  /// As `init(parsing:)` takes it.
  public var description: String {
    switch selector {
    case .paths(let paths): paths.joined(separator: ":")
    case .uuid(let uuid): "UUID=\(uuid)"
    case .label(let label): "LABEL=\(label)"
    }
  }
}
