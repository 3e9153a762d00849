// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

int test_spawn(
    pid_t *child, char *const words[], char *const environment[], const char *const files[3],
    const char *folder) {
  posix_spawn_file_actions_t actions;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return error;
  posix_spawnattr_t attributes;
  error = posix_spawnattr_init(&attributes);
  if (error) {
    posix_spawn_file_actions_destroy(&actions);
    return error;
  }
  for (int fd = 0; fd < 3 && !error; fd++) {
    int flags = fd == 0 ? O_RDONLY : O_WRONLY | O_CREAT;
    error = posix_spawn_file_actions_addopen(&actions, fd, files[fd], flags, 0600);
  }
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  if (!error && folder) error = posix_spawn_file_actions_addchdir_np(&actions, folder);
  // The threads that tests run on block signals.
  sigset_t none;
  sigemptyset(&none);
  if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
  if (!error) error = posix_spawnattr_setpgroup(&attributes, 0);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP;
  if (!error) error = posix_spawnattr_setflags(&attributes, flags);
  if (!error) error = posix_spawn(child, words[0], &actions, &attributes, words, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}
