// SPDX-License-Identifier: GPL-2.0
#include "CTransactions.h"

#include <lmdb.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { key_bytes = 20 };

struct lmdb_store {
  MDB_env *environment;
  MDB_dbi database;
};

typedef struct {
  unsigned char bytes[key_bytes];
} store_key;

// Bytes that sort as positions do: inode, offset, snapshot.
static store_key make_key(uint64_t inode, uint64_t offset) {
  store_key key;
  for (int i = 0; i < 8; i++) {
    key.bytes[i] = inode >> (56 - 8 * i);
    key.bytes[8 + i] = offset >> (56 - 8 * i);
  }
  memset(key.bytes + 16, 0xff, 4);
  return key;
}

static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

lmdb_store *lmdb_store_open(const char *folder, size_t bytes_max) {
  lmdb_store *store = calloc(1, sizeof *store);
  MDB_txn *transaction = NULL;
  if (!store) return NULL;
  if (mdb_env_create(&store->environment)
      || mdb_env_set_mapsize(store->environment, bytes_max)
      || mdb_env_open(store->environment, folder, MDB_NOSYNC, 0600)
      || mdb_txn_begin(store->environment, NULL, 0, &transaction)
      || mdb_dbi_open(transaction, NULL, MDB_CREATE, &store->database)
      || mdb_txn_commit(transaction)) {
    lmdb_store_close(store);
    return NULL;
  }
  return store;
}

void lmdb_store_close(lmdb_store *store) {
  if (store->environment) mdb_env_close(store->environment);
  free(store);
}

// One put in a transaction of its own.
static int put(lmdb_store *store, store_key key) {
  uint64_t zero = 0;
  MDB_val k = {key_bytes, key.bytes}, v = {sizeof zero, &zero};
  MDB_txn *transaction;
  if (mdb_txn_begin(store->environment, NULL, 0, &transaction)) return -1;
  if (mdb_put(transaction, store->database, &k, &v, 0)) {
    mdb_txn_abort(transaction);
    return -1;
  }
  return mdb_txn_commit(transaction);
}

// Finds the key at or behind a place, and does something with it in the same transaction.
// Returns 1 if there was one, 0 if not, -1 for an error; `key` becomes the key found.
enum action { look, overwrite, delete };
static int at_next(lmdb_store *store, store_key *key, enum action action) {
  MDB_txn *transaction;
  MDB_cursor *cursor;
  MDB_val k = {key_bytes, key->bytes}, v;
  if (mdb_txn_begin(store->environment, NULL, action == look ? MDB_RDONLY : 0, &transaction))
    return -1;
  if (mdb_cursor_open(transaction, store->database, &cursor)) {
    mdb_txn_abort(transaction);
    return -1;
  }
  int result = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE) == 0;
  if (result) {
    memcpy(key->bytes, k.mv_data, key_bytes);
    uint64_t zero = 0;
    MDB_val own = {key_bytes, key->bytes}, value = {sizeof zero, &zero};
    if (action == overwrite && mdb_cursor_put(cursor, &own, &value, MDB_CURRENT)) result = -1;
    if (action == delete && mdb_cursor_del(cursor, 0)) result = -1;
  }
  mdb_cursor_close(cursor);
  if (action == look || result < 0)
    mdb_txn_abort(transaction);
  else if (mdb_txn_commit(transaction))
    return -1;
  return result;
}

static int64_t scan(lmdb_store *store) {
  MDB_txn *transaction;
  MDB_cursor *cursor;
  MDB_val k, v;
  int64_t count = 0;
  if (mdb_txn_begin(store->environment, NULL, MDB_RDONLY, &transaction)) return -1;
  if (!mdb_cursor_open(transaction, store->database, &cursor)) {
    while (!mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) count++;
    mdb_cursor_close(cursor);
  }
  mdb_txn_abort(transaction);
  return count;
}

// All keys in order, each in a transaction of its own.
static int64_t in_order(lmdb_store *store, uint64_t count, enum action action) {
  store_key key = make_key(0, 0);
  for (uint64_t i = 0; i < count; i++) {
    int found = at_next(store, &key, action);
    if (found <= 0) return found < 0 ? -1 : (int64_t)i;
    for (int byte = 15; byte >= 0 && ++key.bytes[byte] == 0; byte--) {}
  }
  return count;
}

int64_t lmdb_store_perform(lmdb_store *store, const char *name, uint64_t count, uint64_t seed) {
  int64_t met = 0;
  if (!strcmp(name, "seq_lookup")) return scan(store);
  if (!strcmp(name, "seq_overwrite")) return in_order(store, count, overwrite);
  if (!strcmp(name, "seq_delete")) return in_order(store, count, delete);
  for (uint64_t i = 0; i < count; i++) {
    int found = 1;
    if (!strcmp(name, "seq_insert")) {
      if (put(store, make_key(0, i))) return -1;
    } else if (!strcmp(name, "rand_insert")) {
      if (put(store, make_key(0, next_random(&seed)))) return -1;
    } else {
      store_key key = make_key(0, next_random(&seed));
      enum action action = !strcmp(name, "rand_delete")         ? delete
                           : strcmp(name, "rand_mixed") || i & 3 ? look
                                                                 : overwrite;
      found = at_next(store, &key, action);
    }
    if (found < 0) return -1;
    met += found;
  }
  return met;
}

int sqlite_insert_durably(const char *file, uint64_t first, uint64_t count) {
  sqlite3 *database;
  sqlite3_stmt *insert = NULL;
  int failed = sqlite3_open(file, &database);
  failed = failed || sqlite3_busy_timeout(database, 60000);
  failed = failed
           || sqlite3_exec(
             database,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
             "CREATE TABLE IF NOT EXISTS keys(key BLOB PRIMARY KEY, value INTEGER) WITHOUT ROWID;",
             NULL, NULL, NULL);
  failed = failed
           || sqlite3_prepare_v2(
             database, "INSERT INTO keys VALUES(?, 0)", -1, &insert, NULL);
  for (uint64_t i = 0; !failed && i < count; i++) {
    store_key key = make_key(1, first + i);
    failed = sqlite3_bind_blob(insert, 1, key.bytes, key_bytes, SQLITE_TRANSIENT)
             || sqlite3_step(insert) != SQLITE_DONE || sqlite3_reset(insert);
  }
  sqlite3_finalize(insert);
  sqlite3_close(database);
  return failed;
}
