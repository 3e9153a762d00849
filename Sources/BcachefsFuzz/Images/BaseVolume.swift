// SPDX-License-Identifier: GPL-2.0
// The good volumes that mutation starts from: made by the image builder, or by the driver.
//
// How it works
//   1. A volume is simulated devices that are never changed: each case gets copies of them, which
//      share all pages but those that the case changes.
//   2. A volume with a passphrase is changed to one whose key lies in the open, as deriving it
//      takes half a second.
//   3. Where its structures are (VolumeMap) and what reading it gives (VolumeContents) is found out
//      once, before the first case.
// Invariants
//   (1) A base reads without any error.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// A volume that is right.
final class BaseVolume {
  let name: String
  let devices: [SimulatedDevice]
  /// By device.
  let superblocks: [Superblock]
  let key: EncryptionKey?
  let map: VolumeMap
  let contents: VolumeContents

  /// Whether a changed btree node, superblock or journal entry cannot go unnoticed.
  var checksMetadata: Bool { superblocks[0].optionWords.value(of: .metadataChecksum) != 0 }
  /// Whether changed file contents cannot go unnoticed. Without copy on write there are none, and
  /// files have options of their own.
  let checksData: Bool
  var isClean: Bool { superblocks[0].isClean }

  init(_ name: String, _ devices: [SimulatedDevice]) throws(FuzzFailure) {
    self.name = name
    var superblocks: [Superblock] = []
    var key: EncryptionKey?
    for device in devices {
      var superblock = try Self.superblock(of: device, name)
      if let opened = try Self.unlock(&superblock, name) {
        key = opened
        try SealedWrites.superblock(superblock, to: device)
      }
      superblocks.append(superblock)
    }
    self.devices = devices
    self.superblocks = superblocks
    self.key = key
    map = try VolumeMap(name, devices, superblocks, key)
    checksData = !map.hasUncheckedData
    let opened = try Self.open(devices)
    let volume = try mustWork("opening \(name)") { () throws(VolumeError) in
      try Volume.open(devices: opened)
    }
    contents = VolumeContents(ofBase: volume)
    try check(
      contents.problems.isEmpty, "\(name): \(contents.problems.prefix(3))")
    try check(contents.files.count > 1, "\(name) has no files")
  }

  /// Opens copies, or the devices themselves, for reading.
  static func open(_ devices: [SimulatedDevice]) throws(FuzzFailure) -> [BlockDevice] {
    var opened: [BlockDevice] = []
    for device in devices {
      opened.append(
        try mustWork("open") { () throws(DeviceError) in
          try BlockDevice.open(simulated: device, mode: .readOnly)
        })
    }
    return opened
  }

  private static func superblock(
    of device: SimulatedDevice, _ name: String
  ) throws(FuzzFailure) -> Superblock {
    let start = SuperblockLayout.defaultSuperblockSector * 512
    let bytes = device.contents(start..<min(start + (1 << 20), device.byteCount / 512 * 512))
    return try mustWork("the superblock of \(name)") { () throws(FormatError) in
      try Superblock(decoding: bytes.rawBytes)
    }
  }

  /// Puts the volume's key into the open.
  ///
  /// - Returns: the key, nil where there is none.
  private static func unlock(
    _ superblock: inout Superblock, _ name: String
  ) throws(FuzzFailure) -> EncryptionKey? {
    guard var section = superblock.section(of: CryptSection.self) else { return nil }
    let magic = superblock.uuid.lo
    let (costs, stored) = (section.costs, section.storedKey)
    let key = try mustWork("the key of \(name)") { () throws(EncryptionError) in
      let passphrase =
        stored.isWrapped
        ? try EncryptionKey(passphrase: Array("correct horse".utf8).rawBytes, costs: costs) : nil
      return try stored.open(with: passphrase, superblockMagic: magic)
    }
    section = CryptSection(costs: costs, storedKey: StoredKey(plain: key))
    superblock.setSection(.crypt(section))
    return key
  }
}

/// Structures whose checksum is made to be right, written where they belong.
enum SealedWrites {
  /// Writes every copy of a device's superblock.
  static func superblock(
    _ superblock: Superblock, to device: SimulatedDevice
  ) throws(FuzzFailure) {
    for sector in Set(superblock.layout.copySectors) {
      guard let bytes = mayFail({ () throws(FormatError) in try superblock.encode(sector: sector) })
      else { continue }
      device.patch(bytes, atByte: sector * 512)
    }
  }
}

extension SimulatedDevice {
  /// Changes bytes, wherever they are; what lies beyond the end is left out.
  func patch(_ bytes: [UInt8], atByte offset: UInt64) {
    guard offset < byteCount, !bytes.isEmpty else { return }
    let count = min(UInt64(bytes.count), byteCount - offset)
    let start = offset / 512 * 512
    let end = min((offset + count + 511) / 512 * 512, byteCount)
    var whole = contents(start..<end)
    for index in 0..<Int(count) { whole[Int(offset - start) + index] = bytes[index] }
    _ = mayFail { () throws(DeviceError) in
      let device = try BlockDevice.open(simulated: self, mode: .exclusiveReadWrite)
      try device.write(whole.rawBytes, atByte: start)
      try device.close()
    }
  }

  /// A copy of a range of whole sectors; zeros beyond the end.
  func contents(_ range: Range<UInt64>) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(range.upperBound - range.lowerBound))
    _ = mayFail { () throws(DeviceError) in
      let device = try BlockDevice.open(simulated: self, mode: .readOnly)
      var span = bytes.mutableRawBytes
      try device.read(into: &span, atByte: range.lowerBound)
    }
    return bytes
  }

  /// Cuts off the end.
  func truncate(toByteCount count: UInt64) {
    _ = mayFail { () throws(DeviceError) in
      let device = try BlockDevice.open(simulated: self, mode: .exclusiveReadWrite)
      try device.resize(toByteCount: count)
      try device.close()
    }
  }
}
