// SPDX-License-Identifier: GPL-2.0
// What a command line asks to be mounted: our own, and the one mount(8) has for its helpers.
//
// mount(8) calls `mount.fuse.bcachefs SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]` for
// a line of fstab with the type `fuse.bcachefs`. There -f is "fake": all but the mount.

/// What mount(8) asks its helper for.
public struct MountHelperRequest: Sendable, Equatable {
  /// The volume, as `DEV[:DEV...]`, `UUID=` or `LABEL=`.
  public var source = ""
  /// Where to mount.
  public var directory = ""
  /// Lists of options, as they came.
  public var options: [String] = []
  /// Only check, do not mount.
  public var isFake = false

  /// Whether a program of this name (`argv[0]`) is called by mount(8).
  public static func isHelper(_ program: String) -> Bool {
    let name = program.split(separator: "/").last ?? ""
    return name == "mount.fuse.bcachefs" || name == "mount.bcachefs"
  }

  /// - Parameter words: The arguments, without the program's name.
  /// - Throws: `.usage`.
  public init(parsing words: [String]) throws(MountError) {
    let words = try HelperWords(words, flags: "snvf", withValues: "otN")
    isFake = words.flags.contains("f")
    options = words.values.filter { $0.letter == "o" }.map(\.value)
    let operands = words.operands
    guard operands.count == 2 else {
      throw MountError(.usage, "name what to mount and where, not \(operands.count) things")
    }
    source = operands[0]
    directory = operands[1]
  }
}

/// What mount(8) and umount(8) have for their helpers, taken apart.
struct HelperWords {
  private(set) var operands: [String] = []
  private(set) var flags: Set<Character> = []
  private(set) var values: [(letter: Character, value: String)] = []

  /// - Parameters:
  ///   - flags: Letters that stand alone.
  ///   - withValues: Letters that are followed by something.
  /// - Throws: `.usage`.
  init(_ words: [String], flags known: String, withValues: String) throws(MountError) {
    var rest = words[...]
    while let word = rest.popFirst() {
      guard word.hasPrefix("-"), word != "-" else {
        operands.append(word)
        continue
      }
      var letters = word.dropFirst()
      while let letter = letters.popFirst() {
        if known.contains(letter) {
          flags.insert(letter)
          continue
        }
        guard withValues.contains(letter) else {
          throw MountError(.usage, "-\(letter): no such option")
        }
        guard let value = letters.isEmpty ? rest.popFirst() : String(letters) else {
          throw MountError(.usage, "-\(letter): needs a value")
        }
        values.append((letter, value))
        letters = ""
      }
    }
  }
}
