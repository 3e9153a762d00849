// SPDX-License-Identifier: GPL-2.0
// The same operations by the driver and here, in two folders of one volume: both are refused the
// same ones, for the same reasons, and the folders are alike then.

internal import Bcachefs
internal import BcachefsFormat
internal import FileModel
internal import TestSupport
internal import Testing

@Suite(.enabled(if: KernelGuest.isAvailable, "\(KernelGuest.missing)"))
struct SameOperationsTests {
  /// An operation, in Python and here.
  private struct Step: Sendable {
    let python: String
    let body: @Sendable (PathOperations) throws(VolumeError) -> Void

    init(
      _ python: String, _ body: @escaping @Sendable (PathOperations) throws(VolumeError) -> Void
    ) {
      self.python = python
      self.body = body
    }
  }

  private static let names: [Step] = [
    Step("mkdir('a', 0o755)") { (at) throws(VolumeError) in try at.mkdir("a", 0o755) },
    Step("mkdir('a', 0o755)") { (at) throws(VolumeError) in try at.mkdir("a", 0o755) },
    Step("mkdir('c', 0o777)") { (at) throws(VolumeError) in try at.mkdir("c", 0o777) },
    Step("mkdir('c/x', 0o700)") { (at) throws(VolumeError) in try at.mkdir("c/x", 0o700) },
    Step("mkdir('c/x/y', 0o700)") { (at) throws(VolumeError) in try at.mkdir("c/x/y", 0o700) },
    Step("make('a/f', 0o666)") { (at) throws(VolumeError) in try at.make("a/f", 0o666) },
    Step("make('a/g', 0o640)") { (at) throws(VolumeError) in try at.make("a/g", 0o640) },
    Step("rmdir('c')") { (at) throws(VolumeError) in try at.rmdir("c") },
    Step("rmdir('a/f')") { (at) throws(VolumeError) in try at.rmdir("a/f") },
    Step("unlink('a')") { (at) throws(VolumeError) in try at.unlink("a") },
    Step("unlink('a/none')") { (at) throws(VolumeError) in try at.unlink("a/none") },
    Step("rename('c', 'c/x/z')") { (at) throws(VolumeError) in try at.rename("c", "c/x/z") },
    Step("rename('c/x', 'a/f')") { (at) throws(VolumeError) in try at.rename("c/x", "a/f") },
    Step("rename('a/f', 'c')") { (at) throws(VolumeError) in try at.rename("a/f", "c") },
    Step("rename('a', 'c')") { (at) throws(VolumeError) in try at.rename("a", "c") },
    Step("rename('a/f', 'a/g', 1)") { (at) throws(VolumeError) in
      try at.rename("a/f", "a/g", .noReplace)
    },
    Step("rename('a/f', 'a/none', 2)") { (at) throws(VolumeError) in
      try at.rename("a/f", "a/none", .exchange)
    },
    Step("rename('c/x', 'a/g', 2)") { (at) throws(VolumeError) in
      try at.rename("c/x", "a/g", .exchange)
    },
    Step("rename('c', 'a/g/y', 2)") { (at) throws(VolumeError) in
      try at.rename("c", "a/g/y", .exchange)
    },
    Step("rename('a', 'a/g/y', 2)") { (at) throws(VolumeError) in
      try at.rename("a", "a/g/y", .exchange)
    },
    Step("rename('a/f', 'c/h', 4)") { (at) throws(VolumeError) in
      try at.rename("a/f", "c/h", .whiteout)
    },
    Step("rename('c/h', 'c/x', 4)") { (at) throws(VolumeError) in
      try at.rename("c/h", "c/x", .whiteout)
    },
    Step("link('a', 'd')") { (at) throws(VolumeError) in try at.link("a", "d") },
    Step("link('c/x', 'l1')") { (at) throws(VolumeError) in try at.link("c/x", "l1") },
    Step("link('c/x', 'l1')") { (at) throws(VolumeError) in try at.link("c/x", "l1") },
    Step("rename('l1', 'c/x')") { (at) throws(VolumeError) in try at.rename("l1", "c/x") },
    Step("symlink('somewhere', 'a/s')") { (at) throws(VolumeError) in
      try at.symlink("somewhere", "a/s")
    },
    Step("rename('a/s', 'a/t')") { (at) throws(VolumeError) in try at.rename("a/s", "a/t") },
  ]

  private static let attributes: [Step] = [
    Step("mkdir('d', 0o770)") { (at) throws(VolumeError) in try at.mkdir("d", 0o770) },
    Step("make('f', 0o666)") { (at) throws(VolumeError) in try at.make("f", 0o666) },
    Step("acl('f', 'access', grant)") { (at) throws(VolumeError) in
      try at.acl("f", "access", PathOperations.grant)
    },
    Step("chmod('f', 0o4640)") { (at) throws(VolumeError) in try at.chmod("f", 0o4640) },
    Step("acl('f', 'default', grant)") { (at) throws(VolumeError) in
      try at.acl("f", "default", PathOperations.grant)
    },
    Step("acl('f', 'access', [(1, 7)])") { (at) throws(VolumeError) in
      try at.acl("f", "access", [(1, 7, .max)])
    },
    Step("make('plain', 0o600)") { (at) throws(VolumeError) in try at.make("plain", 0o600) },
    Step("acl('plain', 'access', [(1, 5), (4, 2), (32, 1)])") { (at) throws(VolumeError) in
      try at.acl("plain", "access", [(1, 5, .max), (4, 2, .max), (32, 1, .max)])
    },
    Step("acl('d', 'default', grant)") { (at) throws(VolumeError) in
      try at.acl("d", "default", PathOperations.grant)
    },
    Step("make('d/file', 0o666)") { (at) throws(VolumeError) in try at.make("d/file", 0o666) },
    Step("make('d/secret', 0o600)") { (at) throws(VolumeError) in
      try at.make("d/secret", 0o600)
    },
    Step("mkdir('d/below', 0o755)") { (at) throws(VolumeError) in
      try at.mkdir("d/below", 0o755)
    },
    Step("make('d/below/file', 0o444)") { (at) throws(VolumeError) in
      try at.make("d/below/file", 0o444)
    },
    Step("symlink('x', 'd/link')") { (at) throws(VolumeError) in try at.symlink("x", "d/link") },
    Step("remove('d/below', 'system.posix_acl_default')") { (at) throws(VolumeError) in
      try at.remove("d/below", "system.posix_acl_default")
    },
    Step("remove('d/file', 'system.posix_acl_access')") { (at) throws(VolumeError) in
      try at.remove("d/file", "system.posix_acl_access")
    },
    Step("mkdir('g', 0o755)") { (at) throws(VolumeError) in try at.mkdir("g", 0o755) },
    Step("chown('g', 5, 77)") { (at) throws(VolumeError) in try at.chown("g", 5, 77) },
    Step("chmod('g', 0o2775)") { (at) throws(VolumeError) in try at.chmod("g", 0o2775) },
    Step("make('g/file', 0o666)") { (at) throws(VolumeError) in try at.make("g/file", 0o666) },
    Step("mkdir('g/below', 0o777)") { (at) throws(VolumeError) in
      try at.mkdir("g/below", 0o777)
    },
    Step("set('f', 'user.a', b'1', 1)") { (at) throws(VolumeError) in
      try at.set("f", "user.a", "1", .new)
    },
    Step("set('f', 'user.a', b'2', 1)") { (at) throws(VolumeError) in
      try at.set("f", "user.a", "2", .new)
    },
    Step("set('f', 'user.b', b'2', 2)") { (at) throws(VolumeError) in
      try at.set("f", "user.b", "2", .present)
    },
    Step("remove('f', 'user.b')") { (at) throws(VolumeError) in try at.remove("f", "user.b") },
    Step("set('f', 'trusted.long', b'y' * 1900)") { (at) throws(VolumeError) in
      try at.set("f", "trusted.long", String(repeating: "y", count: 1900))
    },
    Step("set('f', 'trusted.longer', b'y' * 3000)") { (at) throws(VolumeError) in
      try at.set("f", "trusted.longer", String(repeating: "y", count: 3000))
    },
    Step("set('f', 'security.s', b'')") { (at) throws(VolumeError) in
      try at.set("f", "security.s", "")
    },
  ]

  private static let options: [Step] = [
    Step("mkdir('a', 0o755)") { (at) throws(VolumeError) in try at.mkdir("a", 0o755) },
    Step("mkdir('a/below', 0o755)") { (at) throws(VolumeError) in try at.mkdir("a/below", 0o755) },
    Step("mkdir('b', 0o755)") { (at) throws(VolumeError) in try at.mkdir("b", 0o755) },
    Step("make('a/f', 0o644)") { (at) throws(VolumeError) in try at.make("a/f", 0o644) },
    Step("set('b', 'bcachefs.compression', b'zstd:3')") { (at) throws(VolumeError) in
      try at.set("b", "bcachefs.compression", "zstd:3")
    },
    Step("set('b', 'bcachefs.compression', b'zip')") { (at) throws(VolumeError) in
      try at.set("b", "bcachefs.compression", "zip")
    },
    Step("set('b', 'bcachefs.none_such', b'1')") { (at) throws(VolumeError) in
      try at.set("b", "bcachefs.none_such", "1")
    },
    Step("set('b', 'bcachefs.project', b'7')") { (at) throws(VolumeError) in
      try at.set("b", "bcachefs.project", "7")
    },
    Step("link('a/f', 'b/f')") { (at) throws(VolumeError) in try at.link("a/f", "b/f") },
    Step("rename('a/below', 'b/below')") { (at) throws(VolumeError) in
      try at.rename("a/below", "b/below")
    },
    Step("rename('a/f', 'b/f')") { (at) throws(VolumeError) in try at.rename("a/f", "b/f") },
    Step("mkdir('b/new', 0o755)") { (at) throws(VolumeError) in try at.mkdir("b/new", 0o755) },
    Step("make('b/new/f', 0o644)") { (at) throws(VolumeError) in try at.make("b/new/f", 0o644) },
    Step("set('b/new/f', 'bcachefs.nocow', b'1')") { (at) throws(VolumeError) in
      try at.set("b/new/f", "bcachefs.nocow", "1")
    },
    Step("set('b/new/f', 'bcachefs.compression', b'none')") { (at) throws(VolumeError) in
      try at.set("b/new/f", "bcachefs.compression", "none")
    },
    Step("rename('b/new/f', 'a/f')") { (at) throws(VolumeError) in
      try at.rename("b/new/f", "a/f")
    },
    Step("set('b/new', 'bcachefs.data_checksum', b'crc64')") { (at) throws(VolumeError) in
      try at.set("b/new", "bcachefs.data_checksum", "crc64")
    },
    Step("remove('b/new', 'bcachefs.data_checksum')") { (at) throws(VolumeError) in
      try at.remove("b/new", "bcachefs.data_checksum")
    },
    Step("set('b/new', 'bcachefs.background_compression', b'lz4')") { (at) throws(VolumeError) in
      try at.set("b/new", "bcachefs.background_compression", "lz4")
    },
    Step("set('a', 'bcachefs_effective.compression', b'lz4')") { (at) throws(VolumeError) in
      try at.set("a", "bcachefs_effective.compression", "lz4")
    },
    Step("rename('a/f', 'b/f', 2)") { (at) throws(VolumeError) in
      try at.rename("a/f", "b/f", .exchange)
    },
    Step("make('still', 0o644)") { (at) throws(VolumeError) in try at.make("still", 0o644) },
    Step("chattr('still', 0x10)") { (at) throws(VolumeError) in
      try at.chattr("still", [.immutable])
    },
    Step("unlink('still')") { (at) throws(VolumeError) in try at.unlink("still") },
    Step("rename('still', 'a/still')") { (at) throws(VolumeError) in
      try at.rename("still", "a/still")
    },
    Step("chmod('still', 0o600)") { (at) throws(VolumeError) in try at.chmod("still", 0o600) },
    Step("set('still', 'user.a', b'1')") { (at) throws(VolumeError) in
      try at.set("still", "user.a", "1")
    },
    Step("link('still', 'other')") { (at) throws(VolumeError) in try at.link("still", "other") },
    Step("chattr('a', 0x20)") { (at) throws(VolumeError) in try at.chattr("a", [.append]) },
    Step("make('a/more', 0o600)") { (at) throws(VolumeError) in try at.make("a/more", 0o600) },
    Step("unlink('a/more')") { (at) throws(VolumeError) in try at.unlink("a/more") },
    Step("rename('a/more', 'a/less')") { (at) throws(VolumeError) in
      try at.rename("a/more", "a/less")
    },
  ]

  private static let job = """
    set -eu
    . "$JOB_GUEST/common.sh"
    mount_volume rw /mnt/a
    mkdir /mnt/a/kernel
    cat >/mnt/b/steps.py <<'P'
    import ctypes, errno, fcntl, os, struct
    libc = ctypes.CDLL(None, use_errno=True)
    os.umask(0o027)
    os.chdir('/mnt/a/kernel')
    from os import chmod, chown, link, mkdir, rmdir, symlink, unlink, removexattr as remove
    def make(path, mode):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    def rename(old, new, flags=0):
        if libc.renameat2(-100, old.encode(), -100, new.encode(), flags):
            raise OSError(ctypes.get_errno(), 'renameat2')
    def set(path, name, value, flags=0):
        os.setxattr(path, name, value, flags)
    grant = [(1, 7), (2, 6, 1000), (2, 4, 4000000000), (4, 5), (8, 3, 77), (16, 7), (32, 4)]
    def acl(path, kind, entries):
        value = struct.pack('<I', 2)
        for entry in entries:
            value += struct.pack('<HHI', *(entry + (0xffffffff,))[:3])
        os.setxattr(path, 'system.posix_acl_' + kind, value)
    def chattr(path, flags):
        file = os.open(path, os.O_RDONLY)
        fcntl.ioctl(file, 0x40086602, struct.pack('<Q', flags))
        os.close(file)
    for number, step in enumerate(open('/mnt/b/steps').read().splitlines()):
        try:
            exec(step)
            print(number, 'done', flush=True)
        except OSError as error:
            print(number, errno.errorcode[error.errno], flush=True)
    P
    cat >/mnt/b/steps <<'P'
    STEPS
    P
    python3 /mnt/b/steps.py
    umount /mnt/a
    """

  @Test func namesAreRefusedAndChangedAsByTheDriver() throws { try compare(Self.names) }
  @Test func attributesAreRefusedAndChangedAsByTheDriver() throws { try compare(Self.attributes) }
  @Test func optionsAreRefusedAndInheritedAsByTheDriver() throws { try compare(Self.options) }

  private func compare(_ steps: [Step]) throws {
    try withTemporaryFolder { folder in
      let image = "\(folder)/volume.img"
      try runProgramOrThrow("truncate", ["-s", "128M", image])
      try runProgramOrThrow(builtProgram("bcachefs"), ["format", "--quiet", image])
      let job = Self.job.replacing("STEPS", with: steps.map(\.python).joined(separator: "\n"))
      let there = try KernelGuest.run(job: job, images: [image])
      #expect(there.complaints == [])
      let files = try FileSystem.open(VolumeSources(paths: [image]), FileSystemOptions(seed: 1))
      let top = try files.create(
        Array("here".utf8), in: files.root, FileCreation(.directory, permissions: 0o755)
      ).id
      let at = PathOperations(files: files, top: top)
      var here: [String] = []
      for (number, step) in steps.enumerated() {
        do throws(VolumeError) {
          try step.body(at)
          here.append("\(number) done")
        } catch {
          here.append("\(number) \(PathOperations.errnoName(error.code))")
        }
      }
      for (number, (here, there)) in zip(here, there.lines).enumerated() where here != there {
        Issue.record("\(steps[number].python): \(here), and \(there) by the driver")
      }
      #expect(there.lines.count == here.count)
      let kernel = try files.lookup(Array("kernel".utf8), in: files.root).id
      let differences = try TreePair.differences(kernel, top, in: files)
      #expect(differences == [])
      try files.close()
      let checked = try KernelGuest.check(images: [image])
      #expect(checked.complaints == [])
    }
  }
}
