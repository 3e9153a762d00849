// SPDX-License-Identifier: GPL-2.0

/// How far a build is.
public struct BuildProgress: Sendable {
  /// Inodes written.
  public internal(set) var inodes: UInt64 = 0
  /// Inodes that the source has; 0 while it is still surveyed.
  public internal(set) var totalInodes: UInt64 = 0
  /// Bytes of files read.
  public internal(set) var bytes: UInt64 = 0
  /// Bytes that their data takes, once.
  public internal(set) var storedBytes: UInt64 = 0
  /// An upper bound of the bytes to read.
  public internal(set) var totalBytes: UInt64 = 0
}
