// SPDX-License-Identifier: GPL-2.0
// Running the built command, and small things to run it on.

internal import Foundation
internal import TestSupport
internal import Testing

/// Runs `bcachefs` with an environment that does not depend on the caller's.
@discardableResult
func bcachefs(
  _ arguments: String..., environment: [String: String] = [:], input: String = "",
  folder: String? = nil
) throws -> ProgramResult {
  try runProgram(
    builtProgram("bcachefs"), arguments, environment: ["TZ": "UTC"].merging(environment) { $1 },
    input: Array(input.utf8), folder: folder)
}

/// Runs a shell script in which `$BCACHEFS` is the command.
func shell(_ script: String, folder: String, timeoutSeconds: Int = 120) throws -> ProgramResult {
  try runProgram(
    "bash", ["-c", script], environment: ["BCACHEFS": builtProgram("bcachefs"), "TZ": "UTC"],
    folder: folder, timeoutSeconds: timeoutSeconds)
}

/// A folder with `tree`, a small directory of all kinds of files that need no rights.
func withTree<Result>(_ body: (String) throws -> Result) throws -> Result {
  try withTemporaryFolder { folder in
    try runProgramOrThrow(
      "bash",
      [
        "-c",
        """
        mkdir -p tree/a/b tree/empty && cd tree
        for i in $(seq 40); do seq $((i * i * 20)) >a/file$i; done
        printf 'small' >a/b/small; : >a/b/none; ln -s ../a/file1 a/link; ln a/file2 a/b/again
        truncate -s 3M hole; printf x | dd of=hole bs=1 seek=1000000 conv=notrunc status=none
        chmod 750 a/b; touch -d '2001-02-03 04:05:06.789' a/file3
        """,
      ], folder: folder)
    return try body(folder)
  }
}

/// An object of JSON that the command printed.
func jsonObject(_ result: ProgramResult) throws -> [String: Any] {
  let value = try JSONSerialization.jsonObject(with: Data(result.standardOutput))
  return try #require(value as? [String: Any])
}

/// All names below a folder, hidden ones too.
func allNames(in folder: String) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
}

/// SHA-256 of a file, in hexadecimal.
func digest(_ path: String) throws -> String {
  String(try runProgramOrThrow("sha256sum", ["--", path]).text.prefix(64))
}

func makeImage(_ path: String, mebibytes: Int) throws {
  try runProgramOrThrow("truncate", ["-s", "\(mebibytes)M", path])
}
