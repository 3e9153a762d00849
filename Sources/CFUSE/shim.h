// SPDX-License-Identifier: GPL-2.0
// libfuse's low-level API (3.12 or later), and what of it Swift cannot express: names that are
// macros in some versions, names without a NUL, and fork.
#pragma once
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

/// A session; NULL if libfuse does not accept the arguments (it says why on standard error).
static inline struct fuse_session *cfuse_session_new(
    int count, char **arguments, const struct fuse_lowlevel_ops *operations, void *user) {
  struct fuse_args args = FUSE_ARGS_INIT(count, arguments);
  struct fuse_session *session = fuse_session_new(&args, operations, sizeof *operations, user);
  fuse_opt_free_args(&args);
  return session;
}

/// Serves requests on up to `threads` threads until the end: 0, the signal that ended it, or minus
/// the errno.
static inline int cfuse_session_loop(
    struct fuse_session *session, unsigned threads, int has_own_descriptors) {
  struct fuse_loop_config *config = fuse_loop_cfg_create();
  if (!config) return -12;
  fuse_loop_cfg_set_max_threads(config, threads);
  fuse_loop_cfg_set_idle_threads(config, threads);
  fuse_loop_cfg_set_clone_fd(config, has_own_descriptors != 0);
  int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  return result;
}

/// The kernel takes no longer names (FUSE_NAME_MAX).
#define CFUSE_NAME_MAX 1024

static inline void cfuse_name(char *target, const void *name, size_t byte_count) {
  if (byte_count > CFUSE_NAME_MAX) byte_count = CFUSE_NAME_MAX;
  memcpy(target, name, byte_count);
  target[byte_count] = 0;
}

/// Adds an entry to a buffer for readdir. Returns the bytes it takes; more than there are: it was
/// not added.
static inline size_t cfuse_add_entry(
    fuse_req_t request, char *buffer, size_t byte_count, const void *name, size_t name_bytes,
    const struct stat *attributes, off_t next) {
  char text[CFUSE_NAME_MAX + 1];
  cfuse_name(text, name, name_bytes);
  return fuse_add_direntry(request, buffer, byte_count, text, attributes, next);
}

/// The same for readdirplus.
static inline size_t cfuse_add_entry_plus(
    fuse_req_t request, char *buffer, size_t byte_count, const void *name, size_t name_bytes,
    const struct fuse_entry_param *entry, off_t next) {
  char text[CFUSE_NAME_MAX + 1];
  cfuse_name(text, name, name_bytes);
  return fuse_add_direntry_plus(request, buffer, byte_count, text, entry, next);
}

/// A device number as stat(2) shows it.
static inline dev_t cfuse_device(uint32_t major_number, uint32_t minor_number) {
  return makedev(major_number, minor_number);
}

/// The parts of a device number that a system call was given.
static inline uint32_t cfuse_device_major(dev_t device) { return major(device); }
static inline uint32_t cfuse_device_minor(dev_t device) { return minor(device); }

/// A pipe that programs run by this one do not get.
static inline int cfuse_pipe(int ends[2]) {
  if (pipe(ends) != 0) return -1;
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  return 0;
}

// Where the signals that end a mount are told of.
static int cfuse_signal_pipe = -1;
static const int cfuse_signals[] = {SIGINT, SIGTERM, SIGHUP};

static void cfuse_note_signal(int number) {
  int before = errno;
  unsigned char byte = (unsigned char)number;
  if (write(cfuse_signal_pipe, &byte, 1) < 0) {}
  errno = before;
}

/// What they did before.
static inline struct sigaction *cfuse_old_actions(void) {
  static struct sigaction actions[3];
  return actions;
}

/// Has SIGINT, SIGTERM and SIGHUP write their number to a pipe and interrupt what waits, also where
/// whoever started this process had blocked them. Nobody is ended by SIGPIPE any more. 0, or -1 with
/// errno.
static inline int cfuse_catch_signals(int pipe) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_IGN;
  if (sigaction(SIGPIPE, &action, 0) != 0) return -1;
  cfuse_signal_pipe = pipe;
  action.sa_handler = cfuse_note_signal;
  sigset_t signals;
  sigemptyset(&signals);
  for (int i = 0; i < 3; i++) {
    if (sigaction(cfuse_signals[i], &action, cfuse_old_actions() + i) != 0) return -1;
    sigaddset(&signals, cfuse_signals[i]);
  }
  return pthread_sigmask(SIG_UNBLOCK, &signals, 0) == 0 ? 0 : -1;
}

/// Has those signals do what they did before.
static inline void cfuse_release_signals(void) {
  for (int i = 0; i < 3; i++) sigaction(cfuse_signals[i], cfuse_old_actions() + i, 0);
}

// What is behind _GNU_SOURCE.
struct cfuse_credentials {
  pid_t process;
  uid_t user;
  gid_t group;
};

/// The user of the process at the other end of a local socket; -1 if that is not known.
static inline int64_t cfuse_peer_user(int descriptor) {
  struct cfuse_credentials peer;
  socklen_t length = sizeof peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -1;
  return peer.user;
}

/// Flags of umount2(2).
static inline int cfuse_unmount_flags(int is_forced, int is_lazy) {
  return UMOUNT_NOFOLLOW | (is_forced ? MNT_FORCE : 0) | (is_lazy ? MNT_DETACH : 0);
}

/// fork(2), for processes that have one thread.
static inline pid_t cfuse_fork(void) { return fork(); }

/// One line to the system's log.
static inline void cfuse_log(const char *text) {
  syslog(LOG_DAEMON | LOG_WARNING, "bcachefs: %s", text);
}
