// SPDX-License-Identifier: GPL-2.0
// bcachefs fs usage: what the space of a volume is used for, in upstream's columns.
//
// How it works
//   The counters of the accounting btree are sorted as the kernel's ioctl gives them: by the bytes
//   of their positions, so by kind first. Columns are upstream's.
// Invariants
//   (1) Counters of a damaged volume may be anything: sums and products do not trap.
// Source: bcachefs-tools 1.13, c_src/cmd_fs.c.

internal import Bcachefs
internal import BcachefsFormat

enum UsageCommand {
  static let spec = CommandSpec(
    name: "fs usage",
    summary: "show what the space of a volume is used for",
    synopsis: "[OPTION...] VOLUME",
    text: [
      "Prints what the volume's own accounting says, as upstream prints it of a mounted one: the "
        + "whole, the space by kind of data and devices, by compression and by btree, and the "
        + "buckets of every device. Sizes are bytes.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("human_readable", short: "h", help: "units for people: 1.50 MiB"),
          VolumeOperand.json,
        ] + VolumeOperand.options)
    ],
    examples: [CommandExample(line: "bcachefs fs usage -h /dev/sdb:/dev/sdc", text: "For people:")],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count == 1 else {
      throw .usage("name one volume", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let counts = try VolumeOperand.reading { () throws(VolumeError) in try volume.accounting() }
    let text = UsageText(
      volume: volume, counts: counts, isHuman: arguments.contains("human_readable"))
    if arguments.contains("json") { Output.write(text.json) } else { Output.write(text.text) }
  }

  /// Everything that the command can print of a volume.
  static func allTexts(of volume: Volume) throws(VolumeError) -> [String] {
    let text = UsageText(volume: volume, counts: try volume.accounting(), isHuman: true)
    return [text.text, text.json.text()]
  }
}

/// A member, as the tables show it.
private struct UsageDevice {
  let index: Int
  let member: Member
  let label: String?
  /// Without its directory, nil where it is missing.
  let name: String?
}

private struct UsageText {
  let volume: Volume
  /// In the order of the positions' bytes: by kind first.
  let counts: [AccountingCount]
  let isHuman: Bool
  let devices: [UsageDevice]

  init(volume: Volume, counts: [AccountingCount], isHuman: Bool) {
    self.volume = volume
    self.isHuman = isHuman
    self.counts = counts.sorted { Self.order($0).lexicographicallyPrecedes(Self.order($1)) }
    let superblock = volume.superblock
    let groups = superblock.section(of: DiskGroupsSection.self)
    let names = volume.deviceNames
    devices = superblock.members.enumerated().filter { $0.element.isAlive }.map { index, member in
      let name = names.indices.contains(index) ? names[index] : nil
      return UsageDevice(
        index: index, member: member,
        label: member.groupIndex.flatMap { groups?.path(of: $0) },
        name: name?.split(separator: "/").last.map(String.init))
    }
  }

  /// The position's bytes as they are in memory.
  private static func order(_ count: AccountingCount) -> [UInt8] {
    let position = count.key.position
    return (0..<4).map { UInt8(truncatingIfNeeded: position.snapshot >> (8 * $0)) }
      + (0..<8).map { UInt8(truncatingIfNeeded: position.offset >> (8 * $0)) }
      + (0..<8).map { UInt8(truncatingIfNeeded: position.inode >> (8 * $0)) }
  }

  private func size(_ sectors: Int64) -> String {
    let bytes = UInt64(clamping: sectors).multipliedReportingOverflow(by: 512).partialValue
    return isHuman ? HumanSize.text(bytes) : "\(bytes)"
  }

  // MARK: - Text

  var text: String {
    let out = ColumnText()
    let usage = volume.usage(counts)
    out.put("Filesystem: \(volume.superblock.userUUID)").newline()
    out.stops = [20, 36]
    for (name, sectors) in [
      ("Size:", usage.capacitySectors), ("Used:", usage.usedSectors), ("Online reserved:", 0),
    ] {
      out.put(name).tab().put(size(Int64(clamping: sectors))).tabRight().newline()
    }
    out.newline()
    out.stops = [16, 32, 46, 60]
    out.put("Data type").tab().put("Required/total").tab().put("Durability").tab()
    out.put("Devices").newline()
    out.stops.append(74)
    var last = UInt8(0)
    for count in counts {
      put(count, isNewKind: count.key.kind != last, out)
      last = count.key.kind
    }
    for device in sortedDevices { put(device, out) }
    return out.text
  }

  private func put(_ count: AccountingCount, isNewKind: Bool, _ out: ColumnText) {
    let first = count.counters.first ?? 0
    switch count.key {
    case .persistentReserved(let replicas):
      guard first != 0 else { return }
      out.put("reserved:").tab().put("1/\(replicas) ").tab().put("[] ").put(size(first))
      out.tabRight().newline()
    case .replicas(let entry): put(entry, first, out)
    case .compression(let type):
      if isNewKind {
        out.put("\nCompression:\n")
        out.stops = [12, 28, 44, 68]
        out.put("type").tab().put("compressed").tabRight().put("uncompressed").tabRight()
        out.put("average extent size").tabRight().newline()
      }
      let counters = count.counters + [0, 0, 0]
      let average = counters[0] > 0 ? counters[1] / counters[0] &* 512 : 0
      out.put("\(CompressionType(rawValue: type))").tab()
      for bytes in [counters[2] &* 512, counters[1] &* 512, average] {
        out.put(HumanSize.text(UInt64(clamping: bytes))).tabRight()
      }
      out.newline()
    case .btree(let id):
      if isNewKind {
        out.put("\nBtree usage:\n")
        out.stops = [12, 28]
      }
      out.put("\(BTreeID(rawValue: UInt8(clamping: id))):").tab().put(size(first)).tabRight()
      out.newline()
    case .rebalanceWork:
      if isNewKind { out.put("\nPending rebalance work:\n") }
      out.put(size(first)).newline()
    default: break
    }
  }

  private func put(_ entry: AccountingReplicas, _ sectors: Int64, _ out: ColumnText) {
    guard sectors != 0 else { return }
    var durability = 0
    var names: [String] = []
    for index in entry.devices {
      let device = devices.first { $0.index == Int(index) }
      durability += Int(device?.member.durability ?? 0)
      names.append(device?.name ?? "\(index)")
    }
    out.put("\(DataType(rawValue: entry.dataType)):").tab()
    out.put("\(entry.required)/\(entry.count) ").tab().put("\(durability) ").tab()
    out.put("[\(names.joined(separator: " "))] ").tab().put(size(sectors)).tabRight().newline()
  }

  private var sortedDevices: [UsageDevice] {
    devices.sorted { left, right in
      if let a = left.label, let b = right.label, a != b { return a < b }
      if let a = left.name, let b = right.name, a != b { return a < b }
      return left.index < right.index
    }
  }

  private func put(_ device: UsageDevice, _ out: ColumnText) {
    out.stops = [16, 36, 52, 66]
    out.newline().put("\(device.label ?? "(no label)") (device \(device.index)):").tab()
    out.put(device.name ?? "(device not found)").tabRight().put("\(device.member.state)")
    out.tabRight().newline()
    out.indentation = 2
    out.tab().put("data").tabRight().put("buckets").tabRight().put("fragmented").tabRight()
    out.newline()
    for type in 0..<DataType.nativeCount {
      let counters = counters(device, UInt8(type))
      out.put("\(DataType(rawValue: UInt8(type))):").tab()
      out.put(size(counters.sectors)).tabRight().put("\(counters.buckets)").tabRight()
      if counters.fragmented != 0 { out.put(size(counters.fragmented)).tabRight() }
      out.newline()
    }
    let buckets = Int64(clamping: device.member.bucketCount)
    out.put("capacity:").tab().put(size(buckets &* Int64(device.member.bucketSizeSectors)))
    out.tabRight().put("\(buckets)").tabRight()
    out.indentation = 0
    out.newline()
  }

  private func counters(
    _ device: UsageDevice, _ type: UInt8
  ) -> (buckets: Int64, sectors: Int64, fragmented: Int64) {
    let key = AccountingKey.deviceDataType(device: UInt8(clamping: device.index), dataType: type)
    let found = (counts.first { $0.key == key }?.counters ?? []) + [0, 0, 0]
    // Empty buckets have no sectors of their own.
    let sectors =
      DataType(rawValue: type).isEmpty
      ? found[0] &* Int64(device.member.bucketSizeSectors) : found[1]
    return (found[0], sectors, found[2])
  }

  // MARK: - JSON

  var json: JSONValue {
    let usage = volume.usage(counts)
    return .object([
      .init("uuid", .string("\(volume.superblock.userUUID)")),
      .init("capacity_bytes", .integer(usage.capacitySectors * 512)),
      .init("used_bytes", .integer(usage.usedSectors * 512)),
      .init("inodes", .integer(usage.inodeCount)),
      .init(
        "accounting",
        .array(
          counts.map { count in
            .object([
              .init("key", .string(count.key.description)),
              .init("counters", .array(count.counters.map { .signed($0) })),
            ])
          })),
      .init("devices", .array(sortedDevices.map(json))),
    ])
  }

  private func json(_ device: UsageDevice) -> JSONValue {
    let types = (0..<DataType.nativeCount).map { type in
      let counters = counters(device, UInt8(type))
      return JSONValue.object([
        .init("type", .string("\(DataType(rawValue: UInt8(type)))")),
        .init("buckets", .signed(counters.buckets)),
        .init("bytes", .signed(counters.sectors &* 512)),
        .init("fragmented_bytes", .signed(counters.fragmented &* 512)),
      ])
    }
    return .object([
      .init("index", .integer(UInt64(device.index))),
      .init("name", device.name.map { .string($0) } ?? .null),
      .init("label", device.label.map { .string($0) } ?? .null),
      .init("state", .string("\(device.member.state)")),
      .init("buckets", .integer(device.member.bucketCount)),
      .init("bucket_bytes", .integer(UInt64(device.member.bucketSizeSectors) * 512)),
      .init("data", .array(types)),
    ])
  }
}
