// SPDX-License-Identifier: GPL-2.0
// What the libraries reach when a C loop calls them directly: the figures to compare with.
#pragma once
#include "CAllocations.h"
#include "CKeyStore.h"
#include "CTransactions.h"

#include <stddef.h>
#include <stdint.h>

// Each runs `passes` times over the same memory and returns something that depends on all of it.

uint64_t reference_crc32c(void *data, size_t bytes, size_t passes);
uint64_t reference_crc64(void *data, size_t bytes, size_t passes);
uint64_t reference_xxhash64(void *data, size_t bytes, size_t passes);
uint64_t reference_chacha20(void *data, size_t bytes, size_t passes);
uint64_t reference_poly1305(void *data, size_t bytes, size_t passes);

// `blocks` pointers, the last one (P) or two (P, Q) of them parity.
uint64_t reference_xor_gen(void **blocks, int count, size_t bytes, size_t passes);
uint64_t reference_pq_gen(void **blocks, int count, size_t bytes, size_t passes);

// Levels are the library's own. The bytes written last are returned; 0 when they did not fit.
uint64_t reference_lz4(
  const void *from, size_t bytes, void *to, size_t limit, int level, size_t passes);
uint64_t reference_zlib(
  const void *from, size_t bytes, void *to, size_t limit, int level, size_t passes);
uint64_t reference_zstd(
  const void *from, size_t bytes, void *to, size_t limit, int level, size_t passes);

uint64_t reference_lz4_decompress(
  const void *from, size_t bytes, void *to, size_t limit, size_t passes);
uint64_t reference_zlib_decompress(
  const void *from, size_t bytes, void *to, size_t limit, size_t passes);
uint64_t reference_zstd_decompress(
  const void *from, size_t bytes, void *to, size_t limit, size_t passes);
