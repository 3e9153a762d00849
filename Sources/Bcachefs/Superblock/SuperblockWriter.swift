// SPDX-License-Identifier: GPL-2.0
// Writes the superblock of an open volume to all its devices, in an order that survives a crash at
// any write.
//
// How it works
//   1. A round gives the superblock the next number, and writes it in two steps: the first copy on
//      each device, then a flush of each; then the other copies, and another flush.
//   2. Before a round the first copies are read: a number that is too high means that somebody else
//      wrote, one that is too low that the device lost a write. Nothing is written then.
//   3. Before the first round the copies of a device are brought to one number
//      (`SuperblockDisk.settle`): a crash may have left older ones or torn ones.
//   4. A device that was absent, or was cut off by a crash before its first copy, has an older
//      number than the others. Each is brought in by a round of its own, in which it is written
//      first, completely. Those that still lag keep the number that members know of them.
//   5. A device that fails is left out from then on, with the number known of it: at the next open
//      it is one that was absent. If those that are left are too few to mount, no more is written.
// Invariants
//   (1) Between rounds all copies on every device that takes part are durable and have one number.
//   (2) At any moment each device has a valid copy of the round before or of this one: while the
//       first copy is written, which may tear, the others are of the round before; they are touched
//       only when the first one is durable. (With a single copy nothing protects it from tearing.)
//   (3) The number that members know of a device is the one on it, or one above. So no crash looks
//       like split brain, nor like an old copy (`VolumeAssembly`).
//   (4) What has no room or is not valid is refused before anything is written.
// Source: super-io.c (bch2_write_super). Upstream flushes nothing in between, does not bring
// lagging devices in one by one, and tries failed devices again.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

/// The contents that are durable, and the devices that they are on. One thread has it at a time.
struct SuperblockWriter: Sendable {
  /// A device that failed while superblocks were written.
  struct Failure: Sendable {
    let member: Int
    let error: DeviceError
  }

  private(set) var contents: SuperblockContents
  private(set) var disks: [SuperblockDisk]
  /// Devices that failed, in order.
  private(set) var failures: [Failure] = []
  /// Why nothing can be written any more.
  private(set) var fatal: VolumeError?
  let errors: MemberErrors
  let options: VolumeOptions

  init(
    _ contents: SuperblockContents, _ disks: [SuperblockDisk], errors: MemberErrors,
    options: VolumeOptions
  ) {
    self.contents = contents
    self.disks = disks
    self.errors = errors
    self.options = options
  }

  /// Takes contents that are not written, as those of a volume that is not initialised yet.
  mutating func keep(_ next: SuperblockContents) { contents = next }

  /// Makes `next` durable.
  ///
  /// - Parameters:
  ///   - next: Its number and those of its members are set here.
  ///   - time: Seconds since 1970.
  /// - Throws: `.limit` (no room), `.corrupt` (not valid), `.unsupported`, `.splitBrain` (somebody
  ///   else wrote), `.device` (a write was lost): nothing was written. `.missingMembers`: too few
  ///   devices could be written, and nothing will be from now on.
  mutating func write(_ next: SuperblockContents, time: UInt64) throws(VolumeError) {
    if let fatal { throw fatal }
    guard !next.shared.version.isNewerThanNative else {
      throw VolumeError(
        .unsupported, "a superblock of format version \(next.shared.version) cannot be written")
    }
    try check(next, time)
    try settle()
    while let lagging = disks.indices.first(where: { !disks[$0].isOut && isLagging(disks[$0]) }) {
      try round(contents, bringingIn: lagging, time)
    }
    try round(next, bringingIn: nil, time)
  }

  // MARK: Before writing

  private func isLagging(_ disk: SuperblockDisk) -> Bool { disk.seq != contents.shared.seq }

  /// Whether `next` is valid and has room on every device.
  private func check(_ next: SuperblockContents, _ time: UInt64) throws(VolumeError) {
    var trial = next
    trial.shared.seq = contents.shared.seq
    trial.shared.prepareForWrite(time: time)
    for disk in disks where !disk.isOut { _ = try encode(trial, disk) }
  }

  private func encode(
    _ next: SuperblockContents, _ disk: SuperblockDisk
  ) throws(VolumeError) -> [[UInt8]] {
    let superblock = next.superblock(of: disk)
    do throws(FormatError) {
      try superblock.validate(forWrite: true)
      return try disk.encodedCopies(superblock)
    } catch {
      guard error.reason == .tooLarge, "\(error.field)" == "u64s" else {
        throw VolumeError(
          .corrupt, "\(disk.device.name): the superblock to be written is not valid: \(error)")
      }
      throw VolumeError(
        .limit,
        "\(disk.device.name): the superblock would have \(error.found) bytes, and there is room "
          + "for \(error.expected)")
    }
  }

  private mutating func settle() throws(VolumeError) {
    for place in disks.indices where !disks[place].isOut {
      do throws(DeviceError) { try disks[place].settle() } catch { leaveOut(place, error) }
    }
    try checkEnough()
  }

  /// Whether the first copies are what was written last.
  private mutating func readBack(_ places: [Int]) throws(VolumeError) {
    for place in places {
      let disk = disks[place]
      let there: (uuid: UUID, seq: UInt64)
      do throws(DeviceError) { there = try disk.readBack() } catch {
        leaveOut(place, error, .read)
        continue
      }
      let number = "(number \(there.seq), expected \(disk.seq))"
      guard there.uuid == contents.shared.uuid, there.seq <= disk.seq else {
        throw stop(.splitBrain, "\(disk.device.name): somebody else wrote its superblock \(number)")
      }
      guard there.seq == disk.seq else {
        throw stop(.device, "\(disk.device.name): it lost a write of its superblock \(number)")
      }
    }
  }

  private mutating func stop(_ code: VolumeError.Code, _ text: String) -> VolumeError {
    let error = VolumeError(code, text)
    fatal = error
    return error
  }

  // MARK: A round

  private mutating func round(
    _ next: SuperblockContents, bringingIn lagging: Int?, _ time: UInt64
  ) throws(VolumeError) {
    try readBack(disks.indices.filter { isIn($0, lagging) })
    try checkEnough()
    let taking = disks.indices.filter { isIn($0, lagging) }
    // A device that was to be brought in cannot be read: it takes no part any more.
    if let lagging, !taking.contains(lagging) { return }
    let stamped = stamped(next, taking, time)
    var copies: [Int: [[UInt8]]] = [:]
    for place in taking { copies[place] = try encode(stamped, disks[place]) }
    contents = stamped
    if let lagging {
      writeCopies(copies, [lagging])
      writeCopies(copies, taking.filter { $0 != lagging })
    } else {
      writeCopies(copies, taking)
    }
    for place in taking where !disks[place].isOut { disks[place].wrote(stamped.shared.seq) }
    try checkEnough()
  }

  private func isIn(_ place: Int, _ lagging: Int?) -> Bool {
    !disks[place].isOut && (!isLagging(disks[place]) || place == lagging)
  }

  /// `next` with the next number, known of the members that take part.
  private func stamped(
    _ next: SuperblockContents, _ places: [Int], _ time: UInt64
  ) -> SuperblockContents {
    var result = next
    result.shared.seq = contents.shared.seq
    let known = contents.shared.members.map(\.seq)
    result.shared.changeMembers { members in
      for index in members.indices where index < known.count { members[index].seq = known[index] }
    }
    result.shared.prepareForWrite(time: time, devices: Set(places.map { disks[$0].index }))
    return result
  }

  /// First copies, durable; then the others, durable.
  private mutating func writeCopies(_ copies: [Int: [[UInt8]]], _ places: [Int]) {
    for isFirst in [true, false] {
      for place in places where !disks[place].isOut {
        let disk = disks[place]
        let all = copies[place] ?? []
        do throws(DeviceError) {
          for copy in isFirst ? all.indices.prefix(1) : all.indices.dropFirst() {
            try disk.write(all[copy], copy)
          }
        } catch {
          leaveOut(place, error)
        }
      }
      for place in places where !disks[place].isOut && (isFirst || disks[place].copyCount > 1) {
        do throws(DeviceError) { try disks[place].device.flush() } catch { leaveOut(place, error) }
      }
    }
  }

  // MARK: Failures

  private mutating func leaveOut(
    _ place: Int, _ error: DeviceError, _ type: MemberErrorType = .write
  ) {
    disks[place].isOut = true
    errors.add(type, member: disks[place].index)
    failures.append(Failure(member: disks[place].index, error: error))
  }

  /// Whether the devices that are left could be mounted.
  private mutating func checkEnough() throws(VolumeError) {
    if let fatal { throw fatal }
    guard !failures.isEmpty || disks.isEmpty else { return }
    var devices = [BlockDevice?](repeating: nil, count: contents.shared.members.count)
    for disk in disks where !disk.isOut && devices.indices.contains(disk.index) {
      devices[disk.index] = disk.device
    }
    let reasons = failures.map { "\($0.error)" }.joined(separator: "; ")
    guard devices.contains(where: { $0 != nil }) else {
      throw stop(
        .missingMembers, "the superblock could not be written to any device: \(reasons)")
    }
    var degraded = options
    degraded[.degraded] = 1
    do throws(VolumeError) {
      _ = try MemberCheck(contents.shared, devices: devices).check(degraded)
    } catch {
      throw stop(
        .missingMembers,
        "the superblock could not be written to enough devices: \(reasons); \(error)")
    }
  }
}
