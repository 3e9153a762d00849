// SPDX-License-Identifier: GPL-2.0
// Stores that commit a transaction for each operation, as C programs use them: LMDB without sync,
// SQLite with journal_mode=WAL and synchronous=FULL. Keys of 20 bytes, values of 8.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct lmdb_store lmdb_store;

// A store in `folder`, which exists; NULL if it cannot be made. Threads may share it.
lmdb_store *lmdb_store_open(const char *folder, size_t bytes_max);
void lmdb_store_close(lmdb_store *);

// The operations of bcachefs's perf_test, by their names. `seed` gives the random positions.
// Returns how many keys were met, or -1 for an error.
int64_t lmdb_store_perform(lmdb_store *, const char *name, uint64_t count, uint64_t seed);

// Commits `count` durable transactions of one insert each into a database file, which is made if
// need be. Each thread calls it for itself, with numbers of its own.
// Returns 0 for success.
int sqlite_insert_durably(const char *file, uint64_t first, uint64_t count);
