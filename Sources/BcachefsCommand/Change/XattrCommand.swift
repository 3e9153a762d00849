// SPDX-License-Identifier: GPL-2.0
// bcachefs setfattr: extended attributes of files of a volume.

internal import Bcachefs
internal import BcachefsFormat

enum XattrCommand {
  static let spec = CommandSpec(
    name: "setfattr",
    summary: "set and remove extended attributes of files of a volume",
    synopsis: "{-n NAME [-v VALUE] | -x NAME} [OPTION...] VOLUME PATH...",
    text: [
      "Sets the attribute NAME of each PATH to VALUE, or removes it. Names begin with user., "
        + "trusted. or security.; bcachefs.OPTION is an option of the file, such as "
        + "bcachefs.compression. ACLs are system.posix_acl_access and system.posix_acl_default, in "
        + "Linux's form. Each file is one step.",
      ChangedVolume.text,
    ],
    groups: [
      OptionGroup(
        title: "Options",
        options: [
          OptionSpec("name", short: "n", .required(hint: "NAME"), help: "the attribute to set"),
          OptionSpec(
            "value", short: "v", .required(hint: "VALUE"),
            help: "text, 0xHEX or 0sBASE64; empty if not given"),
          OptionSpec(
            "remove", short: "x", .required(hint: "NAME"), help: "the attribute to remove"),
          OptionSpec(
            "no_dereference", short: "h", help: "change symbolic links, not what they lead to"),
          VolumeOperand.json,
        ] + ChangedVolume.options)
    ],
    examples: [
      CommandExample(
        line: "bcachefs setfattr -n user.origin -v rescued volume.img notes.txt", text: "One:")
    ],
    run: run)

  static func run(_ arguments: ParsedArguments) throws(CommandFailure) {
    let (set, removed) = (arguments.value(of: "name"), arguments.value(of: "remove"))
    guard arguments.operands.count >= 2, (set == nil) != (removed == nil) else {
      throw .usage("name an attribute with -n or -x, a volume and files", command: spec.name)
    }
    let text = arguments.value(of: "value") ?? ""
    guard let value = bytes(text) else {
      throw .usage("--value: \(text) is not what it begins as", command: spec.name)
    }
    let report = ChangeReport(spec.name)
    try ChangedVolume.with(arguments) { (volume) throws(CommandFailure) in
      try report.forEach(arguments.operands.dropFirst()) { (path) throws(CommandFailure) in
        let file = try volume.file(path, followsLast: !arguments.contains("no_dereference"))
        try volume.naming(Array(path.utf8)) { () throws(VolumeError) in
          if let set { try volume.system.setXattr(Array(set.utf8), of: file.id, to: value) }
          if let removed { try volume.system.removeXattr(Array(removed.utf8), of: file.id) }
        }
        report.addDone()
      }
    }
    try report.finish(arguments)
  }

  /// The bytes of a value: text, hexadecimal or base64, as getfattr(1) prints them.
  static func bytes(_ text: String) -> [UInt8]? {
    let body = text.utf8.dropFirst(2)
    if text.hasPrefix("0x") || text.hasPrefix("0X") {
      guard body.count % 2 == 0 else { return nil }
      return fold(body, bits: 4) { (byte) in
        Character(UnicodeScalar(byte)).hexDigitValue.map { UInt8($0) }
      }
    }
    guard text.hasPrefix("0s") || text.hasPrefix("0S") else { return Array(text.utf8) }
    return Base64.bytes(body)
  }

  /// Numbers of a few bits each, put together to bytes.
  fileprivate static func fold(
    _ digits: some Sequence<UInt8>, bits: Int, _ value: (UInt8) -> UInt8?
  ) -> [UInt8]? {
    var result: [UInt8] = []
    var (pending, count) = (UInt32(0), 0)
    for digit in digits {
      guard let number = value(digit) else { return nil }
      pending = pending << UInt32(bits) | UInt32(number)
      count += bits
      guard count >= 8 else { continue }
      count -= 8
      result.append(UInt8(truncatingIfNeeded: pending >> UInt32(count)))
      pending &= (1 << UInt32(count)) - 1
    }
    return pending == 0 ? result : nil
  }
}

/// Base64 of RFC 4648.
enum Base64 {
  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// nil for what is none. Padding may be left out.
  static func bytes(_ text: some Collection<UInt8>) -> [UInt8]? {
    let end = text.firstIndex(of: UInt8(ascii: "=")) ?? text.endIndex
    guard text[end...].allSatisfy({ $0 == UInt8(ascii: "=") }), text[end...].count <= 2 else {
      return nil
    }
    return XattrCommand.fold(text[..<end], bits: 6) { (byte) in
      alphabet.firstIndex(of: byte).map { UInt8($0) }
    }
  }
}
