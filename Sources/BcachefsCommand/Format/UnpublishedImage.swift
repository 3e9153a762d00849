// SPDX-License-Identifier: GPL-2.0

internal import BcachefsIO

#if canImport(Glibc)
internal import Glibc
#endif

/// A new image file that has no name yet, as one of several.
final class UnpublishedImage {
  /// Sizes to try for a file that is to fit: filesystems limit what a sparse file may claim to be.
  private static let roomyByteCounts: [UInt64] = [1 << 40, 1 << 37, 1 << 34, (1 << 32) - (1 << 20)]

  let path: String
  let device: BlockDevice
  private var file: NewImageFile?
  private let replaces: Bool

  /// - Parameter byteCount: 0 where it is to fit.
  init(_ path: String, byteCount: UInt64, isForced: Bool) throws(CommandFailure) {
    var status = stat()
    if unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFBLK {
      throw CommandFailure(
        .cannotCreate, "\(path) is a device, not a file to make",
        advice: "bcachefs format --source=DIR \(path) fills a device.")
    }
    do throws(DeviceError) {
      let made = try Self.make(path, byteCount: byteCount, isForced: isForced)
      self.path = made.path
      device = made.device
      replaces = HostFileIdentity(path: made.path) != nil
      file = consume made
    } catch {
      throw CommandFailure(error)
    }
  }

  private static func make(
    _ path: String, byteCount: UInt64, isForced: Bool
  ) throws(DeviceError) -> NewImageFile {
    guard byteCount == 0 else {
      return try NewImageFile(path: path, byteCount: byteCount, replacing: isForced)
    }
    for size in roomyByteCounts.dropLast() {
      do throws(DeviceError) {
        return try NewImageFile(path: path, byteCount: size, replacing: isForced)
      } catch {
        guard error.reason == .system(EFBIG) || error.reason == .system(EINVAL) else { throw error }
      }
    }
    return try NewImageFile(
      path: path, byteCount: roomyByteCounts[roomyByteCounts.count - 1], replacing: isForced)
  }

  /// The file that it is and the one that it replaces, which may lie in a build's source.
  var identities: [HostFileIdentity] {
    let hidden: String? = file?.temporaryPath
    return [path, hidden].compactMap { $0 }.compactMap { HostFileIdentity(path: $0) }
  }

  /// Gives it its name.
  func publish() throws(DeviceError) {
    guard let file = file.take() else { return }
    _ = try file.publish()
  }

  /// Takes the name away again, where nothing was replaced.
  func withdraw() { if !replaces { unsafe unlink(path) } }
}
