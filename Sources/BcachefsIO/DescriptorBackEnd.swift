// SPDX-License-Identifier: GPL-2.0
// The back end for what the kernel opens: image files and block devices, by pread and pwrite.
//
// How it works
//   1. Every transfer is a loop: short transfers go on where they stopped, EINTR is repeated.
//   2. With direct I/O, a transfer whose memory is not aligned goes through an aligned bounce
//      buffer. A read whose offset or length is not aligned reads the whole blocks around it; a
//      write of that kind is refused, as read-modify-write would race with a neighbour's write.
//   3. Functions answer nil for success, else the reason: the caller knows the device's name.
//   4. Linux lets one at a time write to a file by its page cache, and has those spin that wait:
//      of an image file writes take turns here, so that who waits sleeps.
// Invariants
//   (1) The range was checked against the device's size, so offset + length fits in off_t.
//   (2) Nothing is written through a descriptor whose device is read-only: BlockDevice refuses.
//   (3) A write that answers nil has been handed to the kernel whole.
// Locks: a leaf, held during one write to an image file and nothing else; else the kernel orders
// transfers to the same range as it likes.

internal import BcachefsSupport
internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

struct DescriptorBackEnd: Sendable {
  let descriptor: Int32
  let isBlockDevice: Bool
  /// Bytes; 1 unless opened with O_DIRECT.
  let memoryAlignment: Int
  /// Bytes; 1 unless opened with O_DIRECT.
  let offsetAlignment: Int
  /// Whose turn it is to write; nil where writers do not wait for each other.
  let turns: Condition?

  init(descriptor: Int32, isBlockDevice: Bool, memoryAlignment: Int, offsetAlignment: Int) {
    self.descriptor = descriptor
    self.isBlockDevice = isBlockDevice
    self.memoryAlignment = memoryAlignment
    self.offsetAlignment = offsetAlignment
    turns = isBlockDevice || offsetAlignment > 1 ? nil : Condition()
  }

  /// Bounce buffers are not larger than this many bytes.
  static let bounceByteCountMax = 1 << 20
  /// The kernel's limit for parts of one vectored call (UIO_MAXIOV).
  static let partCountMax = 1024

  var usesDirectIO: Bool { offsetAlignment > 1 }

  // MARK: - One buffer

  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> DeviceError.Reason? {
    guard unsafe !needsBounce(UnsafeRawBufferPointer(buffer), offset) else {
      return unsafe readBounced(buffer, at: offset)
    }
    var done = 0
    while done < buffer.count {
      let count = unsafe pread(
        descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done,
        off_t(offset) + done)
      if count > 0 {
        done += count
      } else if count == 0 {
        return .unexpectedEnd
      } else if errno != EINTR {
        return .system(errno)
      }
    }
    return nil
  }

  func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) -> DeviceError.Reason? {
    guard unsafe !needsBounce(buffer, offset) else {
      return unsafe writeBounced(buffer, at: offset)
    }
    turns?.lock()
    defer { turns?.unlock() }
    var done = 0
    while done < buffer.count {
      let count = unsafe pwrite(
        descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done,
        off_t(offset) + done)
      if count > 0 {
        done += count
      } else if count == 0 {
        return .system(EIO)
      } else if errno != EINTR {
        return .system(errno)
      }
    }
    return nil
  }

  // MARK: - Several buffers

  /// Fills `parts` in order from consecutive bytes at `offset`.
  func read(parts: [UnsafeMutableRawBufferPointer], at offset: UInt64) -> DeviceError.Reason? {
    let vectors = unsafe parts.map { unsafe iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
    return unsafe transfer(vectors, at: offset) { vectors, offset in
      unsafe preadv(descriptor, vectors.baseAddress, Int32(vectors.count), off_t(offset))
    } single: { part, offset in
      unsafe read(part, at: offset)
    } whenNothingMoves: {
      .unexpectedEnd
    }
  }

  /// Writes `parts` in order to consecutive bytes at `offset`.
  func write(parts: [UnsafeRawBufferPointer], at offset: UInt64) -> DeviceError.Reason? {
    let vectors = unsafe parts.map {
      unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
    }
    let aligned = unsafe parts.allSatisfy { unsafe !needsBounce($0, offset) }
    if !aligned { return unsafe writeGathered(parts, at: offset) }
    return unsafe transfer(vectors, at: offset) { vectors, offset in
      turns?.lock()
      defer { turns?.unlock() }
      return unsafe pwritev(descriptor, vectors.baseAddress, Int32(vectors.count), off_t(offset))
    } single: { part, offset in
      unsafe write(UnsafeRawBufferPointer(part), at: offset)
    } whenNothingMoves: {
      .system(EIO)
    }
  }

  /// Moves all of `vectors` by vectored calls; what a short call left of a part, and parts that
  /// direct I/O cannot take as they are, go by `single`.
  private func transfer(
    _ vectors: [iovec], at offset: UInt64,
    by call: (UnsafeBufferPointer<iovec>, UInt64) -> Int,
    single: (UnsafeMutableRawBufferPointer, UInt64) -> DeviceError.Reason?,
    whenNothingMoves: () -> DeviceError.Reason
  ) -> DeviceError.Reason? {
    var offset = offset
    var index = 0
    while unsafe index < vectors.count {
      let part = unsafe UnsafeMutableRawBufferPointer(
        start: vectors[index].iov_base, count: vectors[index].iov_len)
      if unsafe part.isEmpty || needsBounce(UnsafeRawBufferPointer(part), offset) {
        if let reason = unsafe single(part, offset) { return reason }
        offset += UInt64(part.count)
        index += 1
        continue
      }
      var end = unsafe min(vectors.count, index + Self.partCountMax)
      if usesDirectIO { end = index + 1 }
      var moved = unsafe vectors.withUnsafeBufferPointer {
        unsafe call(UnsafeBufferPointer(rebasing: $0[index..<end]), offset)
      }
      if moved < 0 && errno == EINTR { continue }
      guard moved >= 0 else { return .system(errno) }
      guard moved > 0 else { return whenNothingMoves() }
      while unsafe index < end && moved >= vectors[index].iov_len {
        moved -= unsafe vectors[index].iov_len
        offset += unsafe UInt64(vectors[index].iov_len)
        index += 1
      }
      guard moved > 0, index < end else { continue }
      let rest = unsafe UnsafeMutableRawBufferPointer(
        start: vectors[index].iov_base?.advanced(by: moved), count: vectors[index].iov_len - moved)
      if let reason = unsafe single(rest, offset + UInt64(moved)) { return reason }
      offset += unsafe UInt64(vectors[index].iov_len)
      index += 1
    }
    return nil
  }

  // MARK: - Direct I/O with unaligned memory or offsets

  private func needsBounce(_ buffer: UnsafeRawBufferPointer, _ offset: UInt64) -> Bool {
    guard usesDirectIO, let base = buffer.baseAddress else { return false }
    return UInt(bitPattern: base) % UInt(memoryAlignment) != 0
      || offset % UInt64(offsetAlignment) != 0 || buffer.count % offsetAlignment != 0
  }

  private func readBounced(
    _ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) -> DeviceError.Reason? {
    let unit = UInt64(offsetAlignment)
    let bounceByteCount = max(Self.bounceByteCountMax, offsetAlignment)
    let bounce = AlignedBuffer(
      byteCount: min(bounceByteCount, (buffer.count / offsetAlignment + 2) * offsetAlignment),
      alignment: max(memoryAlignment, 4096))
    let target = unsafe bounce.unsafeBytes
    var done = 0
    while done < buffer.count {
      let position = offset + UInt64(done)
      let start = position / unit * unit
      let skipped = Int(position - start)
      let wanted = min(buffer.count - done, target.count - skipped)
      let count = unsafe pread(descriptor, target.baseAddress, target.count, off_t(start))
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { return .system(errno) }
      let usable = min(wanted, count - skipped)
      guard usable > 0 else { return .unexpectedEnd }
      unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + usable])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: target[skipped..<skipped + usable]))
      done += usable
    }
    return nil
  }

  private func writeBounced(
    _ buffer: UnsafeRawBufferPointer, at offset: UInt64
  ) -> DeviceError.Reason? {
    guard offset % UInt64(offsetAlignment) == 0, buffer.count % offsetAlignment == 0 else {
      return .misaligned(bytes: offsetAlignment)
    }
    let chunkByteCount = max(Self.bounceByteCountMax / offsetAlignment, 1) * offsetAlignment
    let bounce = AlignedBuffer(
      byteCount: min(chunkByteCount, buffer.count), alignment: max(memoryAlignment, 4096))
    let source = unsafe bounce.unsafeBytes
    var done = 0
    while done < buffer.count {
      let count = min(source.count, buffer.count - done)
      let chunk = unsafe UnsafeMutableRawBufferPointer(rebasing: source[..<count])
      unsafe chunk.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[done..<done + count]))
      let reason = unsafe write(UnsafeRawBufferPointer(chunk), at: offset + UInt64(done))
      if let reason { return reason }
      done += count
    }
    return nil
  }

  /// One write of all parts, so that only the whole must be aligned.
  private func writeGathered(
    _ parts: [UnsafeRawBufferPointer], at offset: UInt64
  ) -> DeviceError.Reason? {
    let total = unsafe parts.reduce(0) { $0 + $1.count }
    guard offset % UInt64(offsetAlignment) == 0, total % offsetAlignment == 0 else {
      return .misaligned(bytes: offsetAlignment)
    }
    let gathered = AlignedBuffer(byteCount: total, alignment: max(memoryAlignment, 4096))
    let target = unsafe gathered.unsafeBytes
    var done = 0
    for index in unsafe parts.indices {
      let part = unsafe parts[index]
      unsafe UnsafeMutableRawBufferPointer(rebasing: target[done..<done + part.count])
        .copyMemory(from: part)
      done += part.count
    }
    return unsafe write(UnsafeRawBufferPointer(target), at: offset)
  }

  // MARK: - Everything else

  /// Data reaches the medium, and with it what is needed to find it again.
  func flush() -> DeviceError.Reason? {
    while fdatasync(descriptor) != 0 {
      if errno != EINTR { return .system(errno) }
    }
    return nil
  }

  func discard(at offset: UInt64, byteCount: UInt64) -> DeviceError.Reason? {
    guard isBlockDevice else { return deallocate(at: offset, byteCount: byteCount) }
    return reason(linux_block_discard(descriptor, offset, byteCount))
  }

  func punchHole(at offset: UInt64, byteCount: UInt64) -> DeviceError.Reason? {
    guard isBlockDevice else { return deallocate(at: offset, byteCount: byteCount) }
    return reason(linux_block_zero(descriptor, offset, byteCount))
  }

  func resize(toByteCount byteCount: UInt64) -> DeviceError.Reason? {
    guard !isBlockDevice else { return .unsupported }
    while ftruncate(descriptor, off_t(byteCount)) != 0 {
      if errno != EINTR { return .system(errno) }
    }
    return nil
  }

  private func deallocate(at offset: UInt64, byteCount: UInt64) -> DeviceError.Reason? {
    reason(linux_punch_hole(descriptor, offset, byteCount))
  }

  private func reason(_ number: Int32) -> DeviceError.Reason? {
    switch number {
    case 0: nil
    case EOPNOTSUPP, ENOTTY: .unsupported
    default: .system(number)
    }
  }
}
