// SPDX-License-Identifier: GPL-2.0
// Options of single files and directories, and the extended attributes that show them.
//
// How it works
//   1. An inode stores each option plus one, 0 for "the volume's"; what a directory has, its new
//      files inherit, so what is stored applies. A bit says which ones were set on the inode.
//   2. Linux shows those as `bcachefs.NAME`, and all that are stored as `bcachefs_effective.NAME`.
//      An option that the inode leaves to the volume is shown as neither.
// Source: xattr.c (bch2_xattr_list_bcachefs, __bch2_xattr_bcachefs_get), inode.c
// (bch2_inode_opts_to_opts).

public import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// An option that a file, or a directory that it was made in, has for itself.
public struct FileOption: Sendable, Equatable {
  /// As in `bcachefs.NAME`: `compression`, `data_replicas` and so on.
  public let name: String
  /// As `VolumeOption` numbers values.
  public let value: UInt64
  /// The value as Linux prints it.
  public let text: String
  /// Whether it was set on this file; if not, it was inherited.
  public let isSetHere: Bool

  fileprivate static let ownPrefix = "bcachefs."
  fileprivate static let effectivePrefix = "bcachefs_effective."

  /// Whether an extended attribute shows an option, which only a bcachefs volume can take.
  public static func isShown(by attribute: [UInt8]) -> Bool {
    attribute.starts(with: ownPrefix.utf8) || attribute.starts(with: effectivePrefix.utf8)
  }

  /// The option that an attribute sets; nil for one that shows what applies.
  static func ownName(_ attribute: [UInt8]) -> String? {
    guard attribute.starts(with: ownPrefix.utf8) else { return nil }
    return String(decoding: attribute.dropFirst(ownPrefix.utf8.count), as: UTF8.self)
  }
}

extension Volume {
  /// The options that apply to a file other than the volume's own, in the format's order.
  ///
  /// - Complexity: no I/O.
  public func options(of inode: Inode) -> [FileOption] { media.options(of: inode) }
}

extension VolumeMedia {
  func options(of inode: Inode) -> [FileOption] {
    inode.options.map { option, value, isSetHere in
      let name = option.description
      let text = VolumeOption(named: name)?.text(value) { self.targetText($0) } ?? "\(value)"
      return FileOption(name: name, value: value, text: text, isSetHere: isSetHere)
    }
  }

  /// A target as a mounted volume names it: `/dev/sdb`, a label, `none`.
  func targetText(_ target: DiskTarget) -> String {
    guard case .device(let index) = target.kind else { return superblock.targetText(target) }
    if let device = device(index) { return device.name }
    let isMember = superblock.member(at: Int(index))?.isAlive ?? false
    return "\(isMember ? "offline" : "invalid") device \(index)"
  }

  /// The attributes that show a file's options, in the order of listxattr.
  func optionXattrs(_ inode: Inode) -> [(name: [UInt8], value: [UInt8])] {
    let options = options(of: inode)
    let own = options.filter(\.isSetHere).map { (FileOption.ownPrefix, $0) }
    let effective = options.map { (FileOption.effectivePrefix, $0) }
    return (own + effective).map { prefix, option in
      (Array((prefix + option.name).utf8), Array(option.text.utf8))
    }
  }
}
