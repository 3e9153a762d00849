// SPDX-License-Identifier: GPL-2.0
// What a device already holds, by libblkid: so that formatting can refuse, naming it.
//
// How it works
//   1. libblkid's probers for filesystems (and RAID members, swap, LUKS) and for partition tables
//      run one after the other; every one that recognises something adds a signature.
//   2. A simulated device is laid out in an unnamed memory file, as libblkid reads descriptors.
// Invariants
//   (1) Nothing is written, and a prober that finds nothing is no error.

internal import CBlkid
internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// A filesystem, partition table or the like that was found on a device.
public struct DeviceSignature: Sendable, Equatable, CustomStringConvertible {
  public enum Kind: Sendable, Equatable {
    /// A filesystem, or whatever else fills a device: swap, a RAID member, an encrypted volume.
    case contents
    case partitionTable
  }

  public let kind: Kind
  /// libblkid's name for it, as in `ext4`, `bcachefs`, `swap`, `gpt`.
  public let type: String
  public let label: String?
  /// As printed by blkid: of a filesystem or partition table.
  public let uuid: String?

  public init(kind: Kind, type: String, label: String?, uuid: String?) {
    self.kind = kind
    self.type = type
    self.label = label
    self.uuid = uuid
  }

  /// As in `ext4 filesystem labelled "data" (UUID ...)`.
  public var description: String {
    var text = kind == .partitionTable ? "\(type) partition table" : "\(type) filesystem or data"
    if let label { text += ", labelled \"\(label)\"" }
    if let uuid { text += ", UUID \(uuid)" }
    return text
  }
}

extension BlockDevice {
  /// Everything recognised on the device; empty if there is nothing.
  ///
  /// - Throws: `.system` when the device cannot be read, `.closed`.
  public func existingSignatures() throws(DeviceError) -> [DeviceSignature] {
    try begin(.probe, 0, 0)
    defer { end() }
    switch backEnd {
    case .descriptor(let file): return try Self.signatures(of: file.descriptor, name: name)
    case .simulated(let device):
      let descriptor = linux_memory_file()
      guard descriptor >= 0 else { throw DeviceError(.probe, .system(errno), device: name) }
      let copy = try BlockDevice(
        adopting: descriptor, name: name, mode: .exclusiveReadWrite, isDirect: false,
        mustBe: S_IFREG)
      try copy.resize(toByteCount: byteCount)
      try device.export(to: copy)
      return try Self.signatures(of: descriptor, name: name)
    }
  }

  /// Overwrites the marks of everything that is recognised on the device, so that nobody takes it for
  /// what it was; its contents stay. Not for simulated devices.
  ///
  /// - Throws: `.system`, `.readOnly`, `.unsupported`, `.closed`.
  public func eraseSignatures() throws(DeviceError) {
    guard mode == .exclusiveReadWrite else { throw DeviceError(.write, .readOnly, device: name) }
    guard case .descriptor(let file) = backEnd else {
      throw DeviceError(.write, .unsupported, device: name)
    }
    try begin(.probe, 0, 0)
    defer { end() }
    let probe = try unsafe Self.makeProbe(file.descriptor, name: name)
    defer { unsafe blkid_free_probe(probe) }
    // A GPT has two headers and a protective MBR: each is found once the one before is gone.
    for _ in 0..<256 {
      let answer = unsafe blkid_do_probe(probe)
      if answer < 0 { throw DeviceError(.probe, .system(EIO), device: name) }
      guard answer == 0 else { return }
      guard unsafe blkid_do_wipe(probe, 0) == 0 else {
        throw DeviceError(.write, .system(errno == 0 ? EIO : errno), device: name)
      }
    }
  }

  private static func makeProbe(
    _ descriptor: Int32, name: String
  ) throws(DeviceError) -> blkid_probe {
    guard let probe = unsafe blkid_new_probe() else {
      throw DeviceError(.probe, .system(ENOMEM), device: name)
    }
    guard unsafe blkid_probe_set_device(probe, descriptor, 0, 0) == 0 else {
      let number = errno
      unsafe blkid_free_probe(probe)
      throw DeviceError(.probe, .system(number == 0 ? EIO : number), device: name)
    }
    unsafe blkid_probe_enable_superblocks(probe, 1)
    unsafe blkid_probe_set_superblocks_flags(
      probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_MAGIC)
    unsafe blkid_probe_enable_partitions(probe, 1)
    unsafe blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC)
    return unsafe probe
  }

  private static func signatures(
    of descriptor: Int32, name: String
  ) throws(DeviceError) -> [DeviceSignature] {
    let probe = try unsafe makeProbe(descriptor, name: name)
    defer { unsafe blkid_free_probe(probe) }
    var found: [DeviceSignature] = []
    // libblkid has some 90 probers; more answers than that would be a fault of its own.
    while found.count < 256 {
      let answer = unsafe blkid_do_probe(probe)
      if answer < 0 { throw DeviceError(.probe, .system(EIO), device: name) }
      guard answer == 0 else { break }
      let label = unsafe value(probe, "LABEL")
      if let type = unsafe value(probe, "TYPE") {
        let uuid = unsafe value(probe, "UUID")
        found.append(DeviceSignature(kind: .contents, type: type, label: label, uuid: uuid))
      } else if let type = unsafe value(probe, "PTTYPE") {
        let uuid = unsafe value(probe, "PTUUID")
        found.append(DeviceSignature(kind: .partitionTable, type: type, label: nil, uuid: uuid))
      }
    }
    return found
  }

  private static func value(_ probe: blkid_probe, _ name: String) -> String? {
    var data: UnsafePointer<CChar>?
    guard unsafe blkid_probe_lookup_value(probe, name, &data, nil) == 0, let data = unsafe data
    else { return nil }
    return unsafe String(cString: data)
  }
}

extension DeviceSignature {
  /// Everything recognised on the device or image file at `path`.
  ///
  /// - Throws: as `BlockDevice.open(path:mode:direct:)` and `existingSignatures()`.
  public static func all(path: String) throws(DeviceError) -> [DeviceSignature] {
    try BlockDevice.open(path: path, mode: .readOnly).existingSignatures()
  }
}
