// SPDX-License-Identifier: GPL-2.0
// What tests need of the C library that Swift does not import.
#pragma once
#include <sys/types.h>

/// Starts a program in a process group of its own, with no signal blocked, with these files as its
/// standard descriptors, and with no other descriptors.
///
/// `words` and `environment` end with NULL; `folder` may be NULL. Returns 0, or the errno.
int test_spawn(
    pid_t *child, char *const words[], char *const environment[], const char *const files[3],
    const char *folder);
