// SPDX-License-Identifier: GPL-2.0
#include "CKeyStore.h"

#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

enum { key_bytes = 20 };

struct key_store {
  MDB_env *environment;
  MDB_txn *transaction;
  MDB_dbi database;
};

key_store *key_store_open(const char *folder, size_t bytes_max) {
  key_store *store = calloc(1, sizeof *store);
  if (!store) return NULL;
  if (mdb_env_create(&store->environment)
      || mdb_env_set_mapsize(store->environment, bytes_max)
      || mdb_env_open(store->environment, folder, MDB_NOSYNC, 0600)
      || mdb_txn_begin(store->environment, NULL, 0, &store->transaction)
      || mdb_dbi_open(store->transaction, NULL, MDB_CREATE, &store->database)) {
    key_store_close(store);
    return NULL;
  }
  return store;
}

int key_store_put(key_store *store, const void *key, const void *value, size_t value_bytes) {
  MDB_val k = {key_bytes, (void *)key}, v = {value_bytes, (void *)value};
  return mdb_put(store->transaction, store->database, &k, &v, MDB_APPEND);
}

int key_store_commit(key_store *store) {
  int failed = mdb_txn_commit(store->transaction);
  store->transaction = NULL;
  return failed ? failed : mdb_txn_begin(store->environment, NULL, MDB_RDONLY, &store->transaction);
}

static uint64_t first_word(const MDB_val *value) {
  uint64_t word = 0;
  memcpy(&word, value->mv_data, value->mv_size < 8 ? value->mv_size : 8);
  return word;
}

uint64_t key_store_get(key_store *store, const void *key) {
  MDB_val k = {key_bytes, (void *)key}, v;
  return mdb_get(store->transaction, store->database, &k, &v) ? 0 : first_word(&v);
}

uint64_t key_store_scan(key_store *store) {
  MDB_cursor *cursor;
  MDB_val k, v;
  uint64_t sum = 0;
  if (mdb_cursor_open(store->transaction, store->database, &cursor)) return 0;
  while (!mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) sum += first_word(&v);
  mdb_cursor_close(cursor);
  return sum;
}

void key_store_close(key_store *store) {
  if (store->transaction) mdb_txn_abort(store->transaction);
  if (store->environment) mdb_env_close(store->environment);
  free(store);
}
