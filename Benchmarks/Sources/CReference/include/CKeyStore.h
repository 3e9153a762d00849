// SPDX-License-Identifier: GPL-2.0
// LMDB, as a C program uses it: keys of 20 bytes, read in one transaction.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct key_store key_store;

// A store in `folder`, which exists; NULL if it cannot be made.
key_store *key_store_open(const char *folder, size_t bytes_max);
// Puts keys in; call key_store_commit behind the last. 0 is success.
int key_store_put(key_store *, const void *key, const void *value, size_t value_bytes);
int key_store_commit(key_store *);
// The first eight bytes of a key's value; 0 if it is not there.
uint64_t key_store_get(key_store *, const void *key);
// The sum of the first eight bytes of all values, in key order.
uint64_t key_store_scan(key_store *);
void key_store_close(key_store *);
