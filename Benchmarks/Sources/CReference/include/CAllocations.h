// SPDX-License-Identifier: GPL-2.0
// How often this process asked for memory: the allocator's functions, counted on the way.
#pragma once
#include <stdint.h>

// Calls of malloc, calloc, realloc, posix_memalign and aligned_alloc by this thread so far.
uint64_t allocation_count(void);
