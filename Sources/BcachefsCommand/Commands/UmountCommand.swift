// SPDX-License-Identifier: GPL-2.0
// bcachefs umount: ends mounts, and returns when their volumes are closed. umount.fuse.bcachefs is
// the same for umount(8).
//
// Exit codes are those of umount(8): 1 for a wrong command line, 2 for the system, 32 for the rest.

internal import BcachefsFUSE

#if canImport(Glibc)
internal import Glibc
#endif

enum UmountCommand {
  static let spec = CommandSpec(
    name: "umount",
    summary: "unmount a volume, and wait until it is closed",
    synopsis: "[-f] [-l] DIRECTORY...",
    text: [
      "Unmounts what bcachefs mount has mounted, and waits until everything is written and the "
        + "volume is closed: after that a disk may be pulled out, and an image copied. umount "
        + "alone returns before that, unless this program is installed as umount.fuse.bcachefs, "
        + "which it calls.",
      "It fails if the volume could not be closed, and says why: the volume is as after a crash "
        + "then, and nothing is lost that fsync has returned for.",
      "Mounts of the kernel's own driver are unmounted, too.",
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("force", short: "f", help: "give up requests that wait for an answer"),
          OptionSpec(
            "lazy", short: "l",
            help:
              "hide the mount now; it ends when nobody uses it any more, which is not waited for"
          ),
        ])
    ],
    examples: [CommandExample(line: "bcachefs umount /mnt", text: "Before a disk is pulled out:")],
    run: run)

  private static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard !arguments.operands.isEmpty else {
      throw .usage("name what to unmount", command: arguments.command)
    }
    finish(
      arguments.operands.map { directory in
        Unmounting(
          directory: directory, isForced: arguments.contains("force"),
          isLazy: arguments.contains("lazy"))
      })
  }

  /// Does what umount(8) asks for, if this is what called us; does not return then.
  static func runIfHelper() {
    let words = CommandLine.arguments
    guard let program = words.first, Unmounting.isHelper(program) else { return }
    do throws(MountError) {
      finish([try Unmounting(parsing: Array(words.dropFirst()))])
    } catch {
      fail(error)
    }
  }

  /// Unmounts all of them, and ends the process.
  private static func finish(_ all: [Unmounting]) -> Never {
    var code: Int32 = 0
    for one in all {
      do throws(MountError) {
        try one.run { Output.remark(spec.name, $0) }
      } catch {
        Output.remark(spec.name, "\(error)")
        code = error.exitCode
      }
    }
    exit(code)
  }

  private static func fail(_ error: MountError) -> Never {
    Output.remark(spec.name, "\(error)")
    exit(error.exitCode)
  }
}
