// SPDX-License-Identifier: GPL-2.0
// Why a volume could not be built.

public import BcachefsFormat
public import BcachefsIO
public import BcachefsSupport

/// Building a volume failed. Nothing is left under the image's final name.
public enum ImageError: Error, Sendable, CustomStringConvertible {
  /// Data and metadata do not fit into the devices.
  case noSpace
  /// A structure that was built does not satisfy the format: a defect of this program.
  case format(FormatError)
  case checksum(ChecksumError)
  case device(DeviceError)
  case host(HostError)
  /// Options that contradict each other or the devices.
  case invalidOptions(String)
  /// The source holds something that the format cannot express.
  case unrepresentable(path: String, reason: String)
  /// A btree of more levels than the format allows.
  case btreeTooDeep(BTreeID)
  /// The caller asked to stop.
  case cancelled

  /// One line for people.
  public var description: String {
    switch self {
    case .noSpace:
      "the volume is too small for what is to go in; give a larger --size, or none to fit"
    case .format(let error): "internal: \(error)"
    case .checksum(let error): "\(error)"
    case .device(let error): "\(error)"
    case .host(let error): "\(error)"
    case .invalidOptions(let text): text
    case .unrepresentable(let path, let reason): "\(path): \(reason)"
    case .btreeTooDeep(let btree):
      "the \(btree) btree needs more than \(BTreeNodeHeader.maxDepth) levels; "
        + "choose a larger --btree_node_size"
    case .cancelled: "stopped as asked; nothing was left behind"
    }
  }
}

/// Runs a step that reads the source, with its error as one of the build.
func readingHost<Result>(
  _ body: () throws(HostError) -> Result
) throws(ImageError) -> Result {
  do throws(HostError) {
    return try body()
  } catch {
    throw .host(error)
  }
}

/// Runs a step on a device, with its error as one of the build.
func usingDevice<Result>(
  _ body: () throws(DeviceError) -> Result
) throws(ImageError) -> Result {
  do throws(DeviceError) {
    return try body()
  } catch {
    throw .device(error)
  }
}

/// Runs an encoder, with its error as one of the build.
func encoding<Result>(
  _ body: () throws(FormatError) -> Result
) throws(ImageError) -> Result {
  do throws(FormatError) {
    return try body()
  } catch {
    throw .format(error)
  }
}
