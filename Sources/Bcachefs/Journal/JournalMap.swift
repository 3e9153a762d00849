// SPDX-License-Identifier: GPL-2.0
// Where the journal of each member stands: every device's own superblock says it of that device.
//
// Invariants
//   (1) Every bucket in a map lies on the device; there are at most `bucketCountMax`.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// The journal buckets of one device.
struct JournalMap: Sendable {
  /// Many more than a driver makes (8192): bounds the time for a hostile superblock.
  static var bucketCountMax: UInt64 { 1 << 18 }

  let device: UInt8
  let bucketByteCount: Int
  /// In the order in which the journal uses them.
  let ranges: [JournalBucketRange]

  /// Buckets that are to become a journal.
  init(_ ranges: [JournalBucketRange], device: UInt8, bucketByteCount: Int) {
    self.device = device
    self.bucketByteCount = bucketByteCount
    self.ranges = ranges
  }

  /// Reads the map of a member from its own superblock.
  ///
  /// - Throws: `.corrupt` and what decoding throws when no copy of it is valid, or the journal
  ///   does not fit the device.
  init(of index: UInt8, on device: BlockDevice, in media: VolumeMedia) throws(VolumeError) {
    let superblock =
      media.superblock.deviceIndex == index
      ? media.superblock : try Self.ownSuperblock(of: index, on: device, in: media)
    guard let member = media.superblock.member(at: Int(index)), member.bucketSizeSectors > 0 else {
      throw VolumeError(.corrupt, "no member \(index), or one without buckets")
    }
    self.device = index
    bucketByteCount = Int(member.bucketSizeSectors) << 9
    let deviceBuckets = device.byteCount / UInt64(bucketByteCount)
    var ranges: [JournalBucketRange] = []
    if let section = superblock.section(of: JournalBucketRangesSection.self) {
      ranges = section.ranges
    } else if let section = superblock.section(of: JournalBucketsSection.self) {
      ranges = section.buckets.map { JournalBucketRange(start: $0, count: 1) }
    }
    var total: UInt64 = 0
    for range in ranges {
      let (end, overflow) = range.start.addingReportingOverflow(range.count)
      guard !overflow, end <= deviceBuckets, range.count <= Self.bucketCountMax else {
        throw VolumeError(
          FormatError(
            .tooLarge, "bch_sb_field_journal_v2", "start", found: end, expected: deviceBuckets))
      }
      total += range.count
      guard total <= Self.bucketCountMax else {
        throw VolumeError(
          FormatError(
            .tooLarge, "bch_sb_field_journal_v2", "nr", found: total,
            expected: Self.bucketCountMax))
      }
    }
    self.ranges = ranges
  }

  /// The newest valid copy of a device's superblock.
  static func ownSuperblock(
    of index: UInt8, on device: BlockDevice, in media: VolumeMedia
  ) throws(VolumeError) -> Superblock {
    var sectors = [SuperblockLayout.defaultSuperblockSector]
    sectors += media.superblock.layout.copySectors.filter { !sectors.contains($0) }
    var copies: [Superblock?] = []
    var failure: VolumeError?
    for sector in sectors {
      do throws(VolumeError) {
        let copy = try self.copy(at: sector, on: device)
        guard copy.uuid == media.superblock.uuid, copy.deviceIndex == index else {
          throw VolumeError(.foreignMember, "the superblock is that of another member")
        }
        copies.append(copy)
      } catch {
        failure = failure ?? error
      }
    }
    guard let newest = Superblock.newestIndex(of: copies), let superblock = copies[newest] else {
      throw failure ?? VolumeError(.notAVolume, "no superblock")
    }
    return superblock
  }

  private static func copy(
    at sector: UInt64, on device: BlockDevice
  ) throws(VolumeError) -> Superblock {
    let (offset, overflow) = sector.multipliedReportingOverflow(by: 512)
    guard !overflow else { throw VolumeError(.corrupt, "superblock at sector \(sector)") }
    let head = try read(4096, at: offset, from: device)
    do throws(FormatError) {
      let byteCount = try Superblock.byteCount(ofHeader: head.bytes)
      if byteCount <= head.byteCount { return try Superblock(decoding: head.bytes) }
      let whole: HeapBuffer
      do throws(VolumeError) {
        whole = try read(byteCount, at: offset, from: device)
      } catch {
        throw FormatError(.truncated, "bch_sb", "u64s", found: UInt64(byteCount))
      }
      return try Superblock(decoding: whole.bytes)
    } catch {
      throw VolumeError(error)
    }
  }

  /// Reads at least `byteCount` bytes: whole pages, where the device has them.
  private static func read(
    _ byteCount: Int, at offset: UInt64, from device: BlockDevice
  ) throws(VolumeError) -> HeapBuffer {
    let left = device.byteCount - min(offset, device.byteCount)
    let buffer = HeapBuffer(byteCount: Int(min(UInt64((byteCount + 4095) & ~4095), left)))
    var span = buffer.mutableBytes
    do throws(DeviceError) {
      try device.read(into: &span, atByte: offset)
    } catch {
      throw VolumeError(error)
    }
    return buffer
  }
}
