// SPDX-License-Identifier: GPL-2.0
// Whether a cached copy is still where its pointer says.
//
// Source: buckets.h (dev_ptr_stale).

internal import BcachefsFormat
internal import BcachefsSupport

/// Looks bucket generations up. It belongs to one thread.
final class CachedPlaces {
  private let media: VolumeMedia
  private let lookup: KeyLookup

  init(media: VolumeMedia, lookup: @escaping KeyLookup) {
    self.media = media
    self.lookup = lookup
  }

  /// Whether a cached pointer's bucket still holds what it pointed to. Nobody knows where the alloc
  /// btree is unreadable: then it does not.
  func isCurrent(_ pointer: ExtentPtr) -> Bool {
    guard let bucket = media.member(pointer.device)?.bucket(ofSector: pointer.offset) else {
      return false
    }
    let position = Positions.bucket(device: pointer.device, bucket: bucket)
    do throws(VolumeError) {
      guard let found = try lookup(.alloc, position) else { return pointer.generation == 0 }
      return found.withValue { value in
        (try? AllocV4(key: found.key, value: value))?.generation == pointer.generation
      }
    } catch {
      return false
    }
  }
}
