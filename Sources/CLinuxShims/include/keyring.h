// SPDX-License-Identifier: GPL-2.0
// The kernel's keyrings (keyrings(7)): the system calls have no wrapper in the C library.
//
// Every function returns 0, or the errno of what failed.
#pragma once
#include <stddef.h>
#include <stdint.h>

// KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING, KEY_SPEC_USER_SESSION_KEYRING.
extern const int32_t linux_keyring_session;
extern const int32_t linux_keyring_user;
extern const int32_t linux_keyring_user_session;

/// Finds a key of type "user" in a keyring and in those linked from it; changes no keyring.
int linux_key_find(int32_t keyring, const char *description, int32_t *key);

/// Reads a key's payload; `byte_count` becomes its whole size, even when the buffer is smaller.
int linux_key_read(int32_t key, void *buffer, size_t capacity, size_t *byte_count);

/// Adds a key of type "user" to a keyring, in the place of one with the same description. All
/// processes of the user may read it, whether their session has the keyring or not.
int linux_key_add(
    int32_t keyring, const char *description, const void *payload, size_t byte_count);

/// Takes a key out of a keyring.
int linux_key_unlink(int32_t keyring, int32_t key);
