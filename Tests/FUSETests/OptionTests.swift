// SPDX-License-Identifier: GPL-2.0
// Options, node numbers and command lines, without a mount.

internal import Bcachefs
internal import BcachefsFormat
internal import Testing

@testable internal import BcachefsFUSE

@Suite struct OptionTests {
  private func refusal(_ lists: String...) -> String? {
    do throws(MountError) {
      _ = try MountOptions(parsing: lists)
      return nil
    } catch {
      return error.description
    }
  }

  @Test func unknownOptionsAreRefusedByName() {
    #expect(refusal("ro,surprise") == "option surprise: no such option")
    #expect(refusal("ro,subvol") == "option subvol: needs a value")
    #expect(refusal("ro,degraded=perhaps")?.hasPrefix("option degraded: ") == true)
    #expect(refusal("ro,block_size=4k")?.hasPrefix("option block_size: ") == true)
  }

  @Test func theLastWordCountsOnWhatMayBeChanged() throws {
    func list(_ options: String...) throws -> Substring? {
      try MountOptions(parsing: options).sessionOptions(source: "d", isRoot: true)
        .split(separator: ",").first
    }
    #expect(try list() == "rw")
    #expect(try list("nodev") == "rw")
    #expect(try list("ro") == "ro")
    #expect(try list("ro", "rw") == "rw")
    #expect(try list("rw,ro") == "ro")
    #expect(try list("read_only") == "ro")
    #expect(try list("rw,nochanges") == "ro")
  }

  @Test func whatHasNoEffectIsNamed() throws {
    func names(_ list: String) throws -> [String] {
      try MountOptions(parsing: [list]).optionsWithoutEffect
    }
    #expect(try names("compression=lz4,norecovery,fsck,fix_errors=no") == ["norecovery"])
    #expect(try names("ro,compression=lz4").contains("compression"))
  }

  @Test func optionsReachWhomTheyAreFor() throws {
    let options = try MountOptions(
      parsing: ["ro,noexec,degraded", "x-systemd.automount,_netdev,subvol=a/b,passphrase_file=/k"])
    #expect(options.subvolume == "a/b")
    #expect(options.passphraseFile == "/k")
    #expect(options.volumeOptions.definedOptions.map(\.name) == ["degraded"])
    let list = options.sessionOptions(source: "/a,b:/c\\d", isRoot: false)
    #expect(
      list == "ro,default_permissions,max_read=1048576,noexec,subtype=bcachefs,"
        + "fsname=/a\\,b:/c\\\\d")
  }

  @Test func othersMayLookIfRootMountsOrItIsSaid() throws {
    func words(_ list: String, isRoot: Bool) throws -> [Substring] {
      try MountOptions(parsing: [list]).sessionOptions(source: "d", isRoot: isRoot)
        .split(separator: ",")
    }
    #expect(try words("ro", isRoot: true).contains("allow_other"))
    #expect(try !words("ro", isRoot: false).contains("allow_other"))
    #expect(try words("ro,allow_other", isRoot: false).contains("allow_other"))
    #expect(try !words("ro,noallow_other", isRoot: true).contains("allow_other"))
  }

  @Test func helperTakesTheCommandLineOfMount() throws {
    let request = try MountHelperRequest(
      parsing: ["UUID=1", "/mnt", "-sfn", "-o", "ro,nodev", "-tfuse.bcachefs", "-N", "/ns"])
    #expect(request.source == "UUID=1")
    #expect(request.directory == "/mnt")
    #expect(request.options == ["ro,nodev"])
    #expect(request.isFake)
    for words in [["a"], ["a", "b", "c"], ["a", "b", "-q"], ["a", "b", "-o"]] {
      #expect(throws: MountError.self) { try MountHelperRequest(parsing: words) }
    }
    #expect(MountHelperRequest.isHelper("/sbin/mount.fuse.bcachefs"))
    #expect(!MountHelperRequest.isHelper("/usr/bin/bcachefs"))
  }
}

@Suite struct NodeTableTests {
  private let root = FileID(subvolume: 1, inode: 4096)

  @Test func rootIsOneAndOthersAreTheirOwn() {
    let table = NodeTable(root: root)
    #expect(table.file(1) == root)
    #expect(table.file(0) == nil)
    #expect(table.file(2) == nil)
    let file = FileID(subvolume: 7, inode: 1 << 48 - 1)
    #expect(table.file(table.remember(file)) == file)
    #expect(table.count == 0)
  }

  @Test func largeNumbersAreKeptUntilForgottenAsOftenAsGiven() {
    let table = NodeTable(root: root)
    for file in [
      FileID(subvolume: 1, inode: 1 << 48), FileID(subvolume: 1 << 15, inode: 5),
      FileID(subvolume: .max, inode: .max), FileID(subvolume: 0, inode: 9),
    ] {
      let id = table.remember(file)
      #expect(id >> 63 == 1)
      #expect(table.remember(file) == id)
      table.forget(id, count: 1)
      #expect(table.file(id) == file)
      table.forget(id, count: 1)
      #expect(table.file(id) == nil)
      #expect(table.remember(file) != id)
    }
    #expect(table.count == 4)
  }

  @Test func numbersThatPeopleSeeTellSubvolumesApart() {
    let inode: UInt64 = 1 << 62 | 3
    let seen = (1...100).map { NodeTable.visibleNumber(FileID(subvolume: $0, inode: inode)) }
    #expect(seen[0] == inode)
    #expect(Set(seen).count == 100)
  }
}
