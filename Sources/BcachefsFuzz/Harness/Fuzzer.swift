// SPDX-License-Identifier: GPL-2.0
// What a fuzzer is: something that can run any number of cases, each decided by its own numbers.

internal import BcachefsSupport

/// Runs cases. A case depends on the random numbers given and on the corpus, never on the cases
/// before it: so that one case can be repeated alone.
protocol Fuzzer: AnyObject {
  /// Runs one case.
  ///
  /// - Throws: when a property does not hold.
  func run(_ random: inout Xoshiro256) throws(FuzzFailure)

  /// What the cases so far were like, if there is anything to tell.
  var summary: String? { get }
}

extension Fuzzer {
  var summary: String? { nil }
}

/// A property that does not hold.
struct FuzzFailure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// Throws unless `condition` holds.
@inline(__always)
func check(_ condition: Bool, _ text: @autoclosure () -> String) throws(FuzzFailure) {
  if !condition { throw FuzzFailure(text()) }
}

/// Runs what must not fail; an error is a finding.
func mustWork<Result, Failure: Error>(
  _ what: String, _ body: () throws(Failure) -> Result
) throws(FuzzFailure) -> Result {
  do throws(Failure) {
    return try body()
  } catch {
    throw FuzzFailure("\(what): \(error)")
  }
}

/// Runs what may fail; an error is fine, a trap is not.
func mayFail<Result, Failure: Error>(_ body: () throws(Failure) -> Result) -> Result? {
  do throws(Failure) {
    return try body()
  } catch {
    return nil
  }
}

/// Text for people has no control characters but tabs and newlines.
func checkText(_ text: String, _ what: String) throws(FuzzFailure) {
  for scalar in text.unicodeScalars {
    let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
    guard !isControl || scalar == "\t" || scalar == "\n" else {
      throw FuzzFailure(
        "\(what) has the control character \(scalar.value): \(text.debugDescription)")
    }
  }
}

/// Where two byte strings differ first, for messages.
func difference(_ found: [UInt8], _ expected: [UInt8]) -> String {
  guard found.count == expected.count else {
    return "\(found.count) bytes instead of \(expected.count)"
  }
  for index in found.indices where found[index] != expected[index] {
    return "byte \(index) is \(found[index]) instead of \(expected[index])"
  }
  return "equal"
}
