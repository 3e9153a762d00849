// SPDX-License-Identifier: GPL-2.0
// Builds that cannot succeed: the error says why, and the device holds no volume.

internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport
internal import Foundation
internal import TestSupport
internal import Testing

@testable internal import Bcachefs

struct BuildFailureTests {
  /// Builds, and returns the error; the device must not look like a volume then.
  private func failure(
    _ source: String, _ setting: BuildSetting = BuildSetting(),
    isCancelled: @escaping () -> Bool = { false }
  ) throws -> ImageError? {
    let devices = try setting.makeDevices()
    do throws(ImageError) {
      _ = try setting.build(source, on: devices, isCancelled: isCancelled)
      return nil
    } catch {
      let first = SuperblockLayout.defaultSuperblockSector * 512
      for device in devices {
        let bytes = try contents(device, 0..<first + 4096)
        #expect(bytes.allSatisfy { $0 == 0 }, "something is where a superblock would be")
      }
      return error
    }
  }

  /// Calls `body` before the second walk hands out its `index`th batch.
  ///
  /// The survey asks once for each directory before.
  private func beforeBatch(
    _ index: Int, directories: Int, _ body: @escaping () -> Void
  ) -> () -> Bool {
    var calls = 0
    return {
      if calls == directories + index { body() }
      calls += 1
      return false
    }
  }

  private func makeFiles(_ folder: String, count: Int) throws -> String {
    try SourceTree.make(
      at: "\(folder)/tree",
      script: "for ((i = 1000; i < \(1000 + count); i++)); do echo $i >file-$i; done"
    ).path
  }

  @Test(arguments: [8 << 20, 12 << 20, 13 << 20, 40 << 20] as [UInt64])
  func deviceThatIsTooSmallIsFull(byteCount: UInt64) throws {
    try withTemporaryFolder { folder in
      try writeFile("\(folder)/large", [UInt8](repeating: 7, count: 48 << 20))
      let setting = BuildSetting(
        options: [.btreeNodeSize: 64 << 10], bucketBytes: 64 << 10, byteCount: byteCount)
      guard case .noSpace? = try failure(folder, setting) else {
        Issue.record("no .noSpace with \(byteCount) bytes")
        return
      }
    }
  }

  /// Whatever the size: it is enough, and so is any larger one, or it is `.noSpace`; never a trap.
  @Test func sizesFromTooSmallToEnoughNeverTrap() throws {
    try withTemporaryFolder { folder in
      let path = try makeFiles(folder, count: 300)
      var fitting = 0
      for buckets in stride(from: 64, through: 112, by: 3) as StrideThrough<UInt64> {
        let setting = BuildSetting(
          options: [.btreeNodeSize: 64 << 10], bucketBytes: 64 << 10, byteCount: buckets << 16)
        switch try failure(path, setting) {
        case nil: fitting += 1
        case .noSpace?: #expect(fitting == 0, "\(buckets) buckets are too few, fewer were enough")
        case let error?: Issue.record("\(buckets) buckets: \(error)")
        }
      }
      #expect(fitting > 0)
    }
  }

  @Test func fileThatChangesMeanwhileIsAnError() throws {
    try withTemporaryFolder { folder in
      let path = try makeFiles(folder, count: 600)
      let change = beforeBatch(1, directories: 1) {
        try? writeFile("\(path)/file-1599", Array("longer than before".utf8))
      }
      let error = try failure(path, isCancelled: change)
      guard case .host(let host)? = error, case .changedWhileReading = host.reason else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(host.description.contains("file-1599"))
    }
  }

  @Test func fileThatVanishesMeanwhileIsAnError() throws {
    try withTemporaryFolder { folder in
      let path = try makeFiles(folder, count: 600)
      let change = beforeBatch(1, directories: 1) {
        try? FileManager.default.removeItem(atPath: "\(path)/file-1599")
      }
      let error = try failure(path, isCancelled: change)
      guard case .host(let host)? = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(host.reason == .vanished, "\(host)")
    }
  }

  @Test(arguments: ["mkdir new", "rmdir b", "ln first third", "rm second; echo >second"])
  func treeThatChangesBetweenTheWalksIsAnError(change: String) throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree", script: "mkdir a b; echo >first; ln first second")
      let changing = beforeBatch(0, directories: 3) {
        _ = try? runProgram("bash", ["-euc", change], folder: tree.path)
      }
      let error = try failure(tree.path, isCancelled: changing)
      guard case .host(let host)? = error, case .changedWhileReading = host.reason else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }

  @Test(.enabled(if: geteuid() != 0, "root may read everything"))
  func unreadableFileIsAnErrorThatNamesIt() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree", script: "echo secret >secret; chmod 0 secret")
      let error = try failure(tree.path)
      guard case .host(let host)? = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(host.reason == .system(EACCES))
      #expect(host.description.contains("secret"))
    }
  }

  @Test func sourceThatIsNotThereIsAnError() throws {
    guard case .host? = try failure("/nowhere/at/all") else {
      Issue.record("no error of the host")
      return
    }
  }

  @Test func attributeThatIsTooLargeIsAnErrorThatNamesIt() throws {
    try withTemporaryFolder { folder in
      let tree = try SourceTree.make(
        at: "\(folder)/tree",
        script: """
          echo >file
          python3 -c 'import os; os.setxattr("file", "user.large", b"x" * 2000)'
          """)
      guard case .unrepresentable(let path, let reason)? = try failure(tree.path) else {
        Issue.record("no .unrepresentable")
        return
      }
      #expect(path == "file")
      #expect(reason.contains("user.large"))
    }
  }

  @Test func stopIsObeyed() throws {
    try withTemporaryFolder { folder in
      let path = try makeFiles(folder, count: 10)
      for stopAt in 0..<3 {
        var calls = 0
        let stop = {
          defer { calls += 1 }
          return calls == stopAt
        }
        guard case .cancelled? = try failure(path, isCancelled: stop) else {
          Issue.record("not stopped at \(stopAt)")
          continue
        }
      }
    }
  }

  @Test func failingWriteIsAnErrorOfTheDevice() throws {
    try withTemporaryFolder { folder in
      let path = try makeFiles(folder, count: 10)
      let setting = BuildSetting(byteCount: 64 << 20)
      let simulated = SimulatedDevice(
        byteCount: 64 << 20, faults: [SimulatedFaultRule(.writeError)])
      let device = try BlockDevice.open(simulated: simulated, mode: .exclusiveReadWrite)
      let error = #expect(throws: ImageError.self) { _ = try setting.build(path, on: [device]) }
      guard case .device? = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }
}
