// SPDX-License-Identifier: GPL-2.0
// Encrypted volumes: what is done where no file has the passphrase.

internal import TestSupport
internal import Testing

@Suite(.serialized, .enabled(if: FUSESupport.isAvailable, "\(FUSESupport.missing)"))
struct UnlockTests {
  /// Mounts in a terminal, and answers its question.
  private static let terminalScript = """
    import os, pty, subprocess, sys
    program, image, mount = (os.environ[name] for name in ("BCACHEFS", "IMAGE", "MOUNT"))
    command = [program, "mount", "-o", "ro", image, mount]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    text = b""
    def read_until(mark):
        global text
        while mark not in text:
            try:
                part = os.read(terminal, 1000)
            except OSError:
                break
            if not part: break
            text += part
    read_until(b"assphrase")
    os.write(terminal, sys.argv[1].encode() + b"\\n")
    read_until(b"no such mark")
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), b"horse" in text, os.path.ismount(mount))
    print(text.decode(), file=sys.stderr)
    """

  private func withEncrypted(_ script: String) throws -> ProgramResult {
    try runMountScript(on: "encrypted", script, files: ["ask.py": Self.terminalScript])
  }

  @Test func passphraseIsAskedForOnATerminalAndNotShown() throws {
    let right = try withEncrypted("python3 \"$FOLDER/ask.py\" 'correct horse'")
    #expect(right.text == "0 False True\n", "\(right.standardError)")
    let wrong = try withEncrypted("python3 \"$FOLDER/ask.py\" 'wrong horse'")
    #expect(wrong.text == "32 False False\n", "\(wrong.standardError)")
  }

  @Test func withoutAnyoneToAskItFailsAndSaysWhatIsMissing() throws {
    for options in ["", "-k fail "] {
      let result = try withEncrypted(
        "\"$BCACHEFS\" mount \(options)-o ro \"$IMAGE\" \"$MOUNT\" </dev/null; echo $?")
      #expect(result.text == "32\n")
      #expect(result.standardError.contains("passphrase"), "\(result.standardError)")
    }
  }
}
