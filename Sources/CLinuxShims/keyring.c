// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "keyring.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

const int32_t linux_keyring_session = KEY_SPEC_SESSION_KEYRING;
const int32_t linux_keyring_user = KEY_SPEC_USER_KEYRING;
const int32_t linux_keyring_user_session = KEY_SPEC_USER_SESSION_KEYRING;

int linux_key_find(int32_t keyring, const char *description, int32_t *key) {
  long found = syscall(SYS_keyctl, KEYCTL_SEARCH, keyring, "user", description, 0);
  if (found < 0) return errno;
  *key = (int32_t)found;
  return 0;
}

int linux_key_read(int32_t key, void *buffer, size_t capacity, size_t *byte_count) {
  long count = syscall(SYS_keyctl, KEYCTL_READ, key, buffer, capacity, 0);
  if (count < 0) return errno;
  *byte_count = (size_t)count;
  return 0;
}

int linux_key_add(
    int32_t keyring, const char *description, const void *payload, size_t byte_count) {
  // Permissions (keyctl_setperm(3)): everything for who possesses it, and for other sessions of the
  // same user, which could link the keyring all the same, view, read and search.
  const uint32_t permissions = 0x3f000000 | 0x00010000 | 0x00020000 | 0x00080000;
  long key = syscall(SYS_add_key, "user", description, payload, byte_count, keyring);
  if (key < 0) return errno;
  // Where that is not allowed the key serves its own session.
  syscall(SYS_keyctl, KEYCTL_SETPERM, key, permissions, 0, 0);
  return 0;
}

int linux_key_unlink(int32_t keyring, int32_t key) {
  return syscall(SYS_keyctl, KEYCTL_UNLINK, key, keyring, 0, 0) < 0 ? errno : 0;
}
