// SPDX-License-Identifier: GPL-2.0
// The superblock of one device for those who look at it, whatever its state: the main copy, or a
// backup, or what may not be trusted.
//
// How it works
//   SuperblockCopies reads. The main copy counts if it is valid; else the newest valid one of the
//   others, else one whose checksum is right and whose contents contradict each other.
// Source: super-io.c (bch2_read_super).

public import BcachefsFormat
public import BcachefsIO

/// A superblock, and how it was come by.
public struct FoundSuperblock: Sendable {
  /// How a copy is known.
  public enum Place: Sendable, Equatable {
    /// Where the first copy always is.
    case main
    /// A copy that the main one, or the layout in sector 7, names.
    case layout
    /// A copy that a search came across.
    case search
  }

  /// All that it says.
  public let superblock: Superblock
  /// How this copy is known.
  public let place: Place
  /// The 512-byte sector in which it stands.
  public let sector: UInt64
  /// What is wrong with the main copy, where it is not this one.
  public let mainProblem: SuperblockProblem?
  /// Why it is not to be trusted: its checksum is right, its contents are not.
  public let doubt: FormatError?
}

/// Why a copy of a superblock is of no use.
public enum SuperblockProblem: Error, Sendable, CustomStringConvertible {
  /// What stands there is none, or damaged.
  case format(FormatError)
  /// It could not be read.
  case device(DeviceError)

  /// One line for people.
  public var description: String {
    switch self {
    case .format(let error): VolumeFormatText.describe(error)
    case .device(let error): "\(error)"
    }
  }
}

/// A device has no superblock that can be read.
public struct NoSuperblock: Error, Sendable, CustomStringConvertible {
  /// The device's path.
  public let device: String
  /// What is wrong with the main copy.
  public let mainProblem: SuperblockProblem

  /// One line for people.
  public var description: String {
    "\(device) has no superblock that can be read: the main copy (sector 8): \(mainProblem); "
      + "no backup copy was found"
  }
}

extension FoundSuperblock {
  /// Reads the superblock of a device.
  ///
  /// - Parameters:
  ///   - device: Open in any mode; nothing is written.
  /// - Throws: when there is no copy whose checksum is right.
  /// - Complexity: the copies; without a good one 26 MiB at the ends of the device.
  public init(reading device: BlockDevice) throws(NoSuperblock) {
    var reader = SuperblockCopies(device)
    reader.readNamedCopies()
    let main = reader.copies[0]
    if case .valid(let superblock) = main.state {
      self.init(
        superblock: superblock, place: .main, sector: main.sector, mainProblem: nil, doubt: nil)
      return
    }
    if reader.newest == nil { reader.search() }
    if let (copy, superblock) = reader.newest {
      self.init(
        superblock: superblock, place: copy.place, sector: copy.sector,
        mainProblem: main.state.problem, doubt: nil)
      return
    }
    for copy in reader.copies {
      guard case .doubtful(let superblock, let doubt) = copy.state else { continue }
      self.init(
        superblock: superblock, place: copy.place, sector: copy.sector,
        mainProblem: copy.place == .main ? nil : main.state.problem, doubt: doubt)
      return
    }
    throw NoSuperblock(
      device: device.name,
      mainProblem: main.state.problem ?? .format(FormatError(.invalid, "bch_sb", "magic")))
  }

  /// The main copy, if its checksum is right: whether a device holds a volume, without a search.
  public static func mainCopy(on device: BlockDevice) -> Superblock? {
    let sector = SuperblockLayout.defaultSuperblockSector
    return switch SuperblockCopies(device).state(ofSector: sector) {
    case .valid(let superblock), .doubtful(let superblock, _): superblock
    case .bad: nil
    }
  }
}
