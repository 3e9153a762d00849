// SPDX-License-Identifier: GPL-2.0
// bcachefs cat: the contents of files on standard output.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsSupport

enum CatCommand {
  static let spec = CommandSpec(
    name: "cat",
    summary: "write the contents of files to standard output",
    synopsis: "[OPTION...] VOLUME PATH...",
    text: [
      "Writes files of a volume one after the other. What cannot be read is named on standard "
        + "error with its byte ranges and zeros stand for it; the exit code is 65 then.",
      VolumeOperand.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("json", help: "report what was lost as JSON on standard error, at the end")
        ] + VolumeOperand.options)
    ],
    examples: [
      CommandExample(line: "bcachefs cat volume.img etc/fstab", text: "One file:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    guard arguments.operands.count >= 2 else {
      throw .usage("name a volume and the files", command: spec.name)
    }
    let volume = try VolumeOperand.open(arguments)
    let damage = DamageReport(command: spec.name)
    let output = ByteOutput()
    let buffer = HeapBuffer(byteCount: 1 << 20)
    for path in arguments.operands.dropFirst() {
      let id = try VolumeOperand.file(path, in: volume)
      let file = try VolumeOperand.reading { () throws(VolumeError) in
        let file = try volume.open(id)
        guard FileKind(file.inode) == .regular else {
          throw VolumeError(
            file.inode.isDirectory ? .isADirectory : .wrongType,
            "\(SafeText.text(path.utf8)): not a regular file")
        }
        return file
      }
      let losses = FileLosses()
      try FileContents(file: file, losses: losses, buffer: buffer).forEachPiece(
        in: 0..<file.inode.size
      ) { (piece, _) throws(CommandFailure) in try output.write(piece) }
      damage.add(Array(path.utf8), losses, size: file.inode.size)
    }
    try output.flush()
    if arguments.contains("json") {
      Output.writeToError(JSONValue.object([.init("damage", damage.json)]).text() + "\n")
    }
    try damage.finish()
  }
}

/// A file's bytes, piece by piece, past what is lost.
struct FileContents {
  let file: FileHandle
  let losses: FileLosses
  let buffer: HeapBuffer

  /// Calls `body` with the bytes of a range, which lies within the file's size, and their offset.
  func forEachPiece<Failure: Error>(
    in range: Range<UInt64>, _ body: (RawSpan, UInt64) throws(Failure) -> Void
  ) throws(Failure) {
    var offset = range.lowerBound
    let buffer = self.buffer
    let losses = self.losses
    while offset < range.upperBound {
      // Whole blocks after the first piece, so that no extent is decoded twice without need.
      let aligned = offset - offset % UInt64(buffer.byteCount) + UInt64(buffer.byteCount)
      let count = Int(min(aligned, range.upperBound) - offset)
      do throws(VolumeError) {
        var all = buffer.mutableBytes
        var target = all.subrange(0..<count)
        _ = try file.read(from: offset, into: &target) { losses.add($0, $1) }
      } catch {
        var all = buffer.mutableBytes
        all.zero(0..<count)
        losses.add(offset..<offset + UInt64(count), error)
      }
      try body(buffer.bytes.extracting(0..<count), offset)
      offset += UInt64(count)
    }
  }
}
