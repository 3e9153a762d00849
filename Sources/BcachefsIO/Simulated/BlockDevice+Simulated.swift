// SPDX-License-Identifier: GPL-2.0
// Opening a simulated device, and carrying contents between it and real ones.

internal import BcachefsSupport
internal import Synchronization

extension BlockDevice {
  /// Opens a simulated device. Like a real one it can be open for writing only once at a time.
  ///
  /// - Throws: `.inUse`, when it is open for writing already.
  public static func open(
    simulated device: SimulatedDevice, mode: Mode
  ) throws(DeviceError) -> BlockDevice {
    let name = device.configuration.name
    if mode == .exclusiveReadWrite {
      let wasOpen = device.state.withLock { state in
        defer { state.isOpenForWriting = true }
        return state.isOpenForWriting
      }
      if wasOpen { throw DeviceError(.lock, .inUse([]), device: name) }
    }
    let unit = device.configuration.blockSizeBytes
    let geometry = DeviceGeometry(
      byteCount: device.byteCount, blockSizeBytes: unit, physicalBlockSizeBytes: unit,
      isRotational: device.configuration.isRotational, supportsDiscard: true)
    return BlockDevice(name: name, mode: mode, geometry: geometry, backEnd: .simulated(device))
  }
}

extension SimulatedDevice {
  /// A simulated device with the contents of another device, all of it durable. Zeros take no room.
  ///
  /// - Throws: what reading throws.
  public convenience init(
    copying device: BlockDevice, seed: UInt64 = 0, configuration: Configuration = Configuration()
  ) throws(DeviceError) {
    var contents = PageStore()
    var buffer = AlignedBuffer(byteCount: 1 << 20)
    let total = device.byteCount
    var offset: UInt64 = 0
    while offset < total {
      let count = Int(min(UInt64(buffer.byteCount), total - offset))
      var all = buffer.mutableBytes
      var target = all._mutatingExtracting(first: count)
      try device.read(into: &target, atByte: offset)
      contents.writeNonzeroPages(buffer.bytes.extracting(first: count), at: offset)
      offset += UInt64(count)
    }
    self.init(byteCount: total, seed: seed, configuration: configuration, contents: contents)
  }

  /// Writes what reads see now to another device of at least this size, which must hold zeros:
  /// only pages that were ever written are carried over.
  ///
  /// - Throws: what writing throws; `.outOfBounds` if the target is smaller.
  public func export(to target: BlockDevice) throws(DeviceError) {
    let (contents, total) = state.withLock { ($0.current, $0.byteCount) }
    unsafe try contents.forEachPage { (offset, bytes) throws(DeviceError) in
      // A page stays, zeroed, when the device's end was within it and comes before it.
      guard offset < total else { return }
      let count = Int(min(UInt64(bytes.count), total - offset))
      let page = unsafe RawSpan(_unsafeBytes: bytes)
      try target.write(page.extracting(first: count), atByte: offset)
    }
  }
}

extension PageStore {
  /// Writes the pages of `span` that hold anything but zeros.
  fileprivate mutating func writeNonzeroPages(_ span: RawSpan, at offset: UInt64) {
    unsafe span.withUnsafeBytes { bytes in
      var start = 0
      while start < bytes.count {
        let end = min(start + Page.byteCount, bytes.count)
        let page = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
        if unsafe page.contains(where: { $0 != 0 }) {
          unsafe write(page, at: offset + UInt64(start))
        }
        start = end
      }
    }
  }
}
