// SPDX-License-Identifier: GPL-2.0
// bcachefs-fuzz: runs everything that reads bytes on bytes that nobody meant.

#if canImport(Glibc)
internal import Glibc
#endif

exit(FuzzCommand.run(Array(CommandLine.arguments.dropFirst())))
