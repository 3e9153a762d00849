// SPDX-License-Identifier: GPL-2.0
// Power fails while superblocks are written: at every moment, with any of the unflushed writes
// there, torn or not, the volume assembles, with what it said before or what it was to say. The
// driver would take it too.

import BcachefsFormat
import BcachefsIO
import BcachefsSupport
import TestSupport
import Testing

@testable import Bcachefs

@Suite struct SuperblockCrashTests {
  /// Ways in which unflushed writes survive, the same on all devices or not.
  static func choices(seed: UInt64) -> [(Int) -> CrashSurvivors] {
    [
      { _ in .none }, { _ in .all }, { .tornSubset(seed: seed &+ UInt64($0) * 77) },
      { $0 % 2 == 0 ? .all : .none }, { $0 % 2 == 0 ? .none : .tornSubset(seed: seed) },
      { .subset(seed: seed &+ UInt64($0) * 31) },
    ]
  }

  /// What Linux 6.12 makes of a device: the first valid copy, in the order of the layout.
  static func driverSuperblock(_ image: SimulatedDevice) throws -> Superblock? {
    let device = try BlockDevice.open(simulated: image, mode: .readOnly)
    var copies = SuperblockCopies(device)
    copies.readNamedCopies()
    for copy in copies.copies {
      if case .valid(let superblock) = copy.state { return superblock }
    }
    return nil
  }

  /// Whether Linux 6.12 would mount these devices together (`bch2_dev_in_fs`).
  static func driverComplaint(_ images: [SimulatedDevice]) throws -> String? {
    let found = try images.map(driverSuperblock)
    let superblocks = found.compactMap { $0 }
    guard superblocks.count == images.count else { return "no superblock" }
    guard let best = superblocks.max(by: { ($0.seq, $0.writeTime) < ($1.seq, $1.writeTime) })
    else { return "nothing" }
    for other in superblocks {
      if other.seq == best.seq && other.writeTime != best.writeTime { return "two of one number" }
      let known = best.members[Int(other.deviceIndex)].seq
      if known != 0 && known < other.seq { return "known \(known), has \(other.seq)" }
    }
    return nil
  }

  /// - Returns: The label of what counts after the crash.
  @discardableResult
  func expectWhole(
    _ images: [SimulatedDevice], allowed: Set<String>, _ context: String
  ) throws -> String {
    if let complaint = try Self.driverComplaint(images) {
      Issue.record("\(context): the driver: \(complaint)")
    }
    do {
      let label = try LiveVolume.read(images).superblock.label.text
      #expect(allowed.contains(label), "\(context)")
      return label
    } catch {
      Issue.record("\(context): \(error)")
      return ""
    }
  }

  /// Crashes a recorded run at every moment.
  ///
  /// - Parameters:
  ///   - labels: At stage 2n the label is `labels[n]`; at 2n + 1 the next one is on its way.
  ///   - also: Is given each crashed volume, with its number and label.
  func crashEverywhere(
    _ volume: LiveVolume, labels: [String], _ context: String,
    also: ([SimulatedDevice], Int, String) throws -> Void = { _, _, _ in }
  ) throws {
    var number = 0
    for (index, moment) in volume.log.moments.enumerated() {
      let stage = moment.stage
      var allowed: Set = [labels[stage / 2]]
      if stage % 2 == 1 { allowed.insert(labels[stage / 2 + 1]) }
      for (choice, survivors) in Self.choices(seed: UInt64(index)).enumerated() {
        let images = try volume.crashed(at: moment, survivors)
        let label = try expectWhole(
          images, allowed: allowed, "\(context), moment \(index), choice \(choice)")
        try also(images, number, label)
        number += 1
      }
    }
  }

  /// Writes labels one after the other, and says in the log which is on its way.
  func writeLabels(
    _ labels: [String], on volume: LiveVolume, _ numbers: [Int]? = nil,
    options: VolumeOptions = VolumeOptions()
  ) throws {
    try volume.writing(numbers, options: options) { store in
      for label in labels {
        volume.log.stage += 1
        try store.setLabel(label)
        volume.log.stage += 1
      }
    }
  }

  @Test(arguments: [1, 2, 3])
  func everyCrashLeavesTheOldOrTheNewSuperblock(deviceCount: Int) throws {
    let volume = try LiveVolume(deviceCount: deviceCount)
    let first = try volume.superblock(0).label.text
    try writeLabels(["a", "b", "c"], on: volume)
    #expect(volume.log.moments.count > 10 * deviceCount)
    try crashEverywhere(volume, labels: [first, "a", "b", "c"], "\(deviceCount) devices")
  }

  @Test func secondCrashLeavesTheOldOrTheNewSuperblockToo() throws {
    let volume = try LiveVolume(deviceCount: 3)
    let first = try volume.superblock(0).label.text
    try writeLabels(["a"], on: volume)
    try crashEverywhere(volume, labels: [first, "a"], "first") { images, number, label in
      guard number % (runsLongTests ? 2 : 16) == 1 else { return }
      let again = LiveVolume(images)
      try writeLabels(["x", "y"], on: again)
      #expect(try (0..<3).map { try again.superblock($0).label.text } == ["y", "y", "y"])
      try crashEverywhere(again, labels: [label, "x", "y"], "after crash \(number)")
    }
  }

  @Test func devicesThatWereAbsentComeBackThroughEveryCrash() throws {
    let volume = try LiveVolume(deviceCount: 3, replicas: 3)
    let options = VolumeOptions.on(.degraded)
    try writeLabels(["a", "b", "c"], on: volume, [0], options: options)
    try writeLabels(["d"], on: volume, [0, 1], options: options)
    let back = LiveVolume(volume.devices)
    #expect(try back.superblock(2).seq < back.superblock(1).seq)
    try writeLabels(["e", "f"], on: back)
    let numbers = try (0..<3).map { try back.superblock($0).seq }
    #expect(Set(numbers).count == 1)
    try crashEverywhere(back, labels: ["d", "e", "f"], "absent")
    // Of three devices any two say the same, too.
    for missing in 0..<3 {
      let rest = back.devices.indices.filter { $0 != missing }.map { back.devices[$0] }
      #expect(try LiveVolume.read(rest, options: options).superblock.label.text == "f")
    }
  }
}
