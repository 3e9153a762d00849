// SPDX-License-Identifier: GPL-2.0
// Assertions that speak. `precondition` is mute in release builds: this is the one that is not.

/// Stops the process with `message` when `condition` is false, in every build.
///
/// For the program's own invariants, O(1) each; never for bytes that came from a disk (throw).
@inlinable
@inline(__always)
public func invariant(
  _ condition: @autoclosure () -> Bool, _ message: @autoclosure () -> StaticString,
  file: StaticString = #fileID, line: UInt = #line
) {
  if !condition() { invariantFailed(message(), file, line) }
}

/// Stops the process: what cannot be is, and there is nothing to return.
@inline(never)
public func unreachable(
  _ message: StaticString, file: StaticString = #fileID, line: UInt = #line
) -> Never {
  invariantFailed(message, file, line)
}

@inline(never)
@usableFromInline
func invariantFailed(_ message: StaticString, _ file: StaticString, _ line: UInt) -> Never {
  fatalError("invariant violated: \(message)", file: file, line: line)
}

/// Runs `check` when the package is built with `BCACHEFS_INTERNAL_CHECKS` (`make check`): walks of
/// whole nodes and the like, too slow for anything else.
@inlinable
@inline(__always)
public func expensiveCheck(_ check: () -> Void) {
  #if BCACHEFS_INTERNAL_CHECKS
  check()
  #endif
}
