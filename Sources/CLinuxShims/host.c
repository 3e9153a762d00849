// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

// The same numbers on every architecture that Swift knows; Linux 6.13 and later.
#ifndef SYS_getxattrat
#define SYS_getxattrat 464
#endif
#ifndef SYS_listxattrat
#define SYS_listxattrat 465
#endif

// The argument of getxattrat.
struct value_buffer {
  uint64_t address;
  uint32_t byte_count;
  uint32_t flags;
};

#define REPEATED(result, call) \
  do {                         \
    result = (call);           \
  } while (result < 0 && errno == EINTR)

static struct linux_time time_of(struct statx_timestamp stamp) {
  return (struct linux_time){stamp.tv_sec, stamp.tv_nsec};
}

int linux_status_get(int fd, const char *name, struct linux_status *out) {
  struct statx found;
  int flags = AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
  if (!*name) flags |= AT_EMPTY_PATH;
  if (statx(fd, name, flags, STATX_BASIC_STATS | STATX_BTIME, &found) < 0) return -errno;
  *out = (struct linux_status){
      .device = (uint64_t)found.stx_dev_major << 32 | found.stx_dev_minor,
      .inode = found.stx_ino,
      .byte_count = found.stx_size,
      .blocks_512 = found.stx_blocks,
      .mode = found.stx_mode,
      .link_count = found.stx_nlink,
      .user = found.stx_uid,
      .group = found.stx_gid,
      .device_major = found.stx_rdev_major,
      .device_minor = found.stx_rdev_minor,
      .has_birth = (found.stx_mask & STATX_BTIME) != 0,
      .access = time_of(found.stx_atime),
      .modification = time_of(found.stx_mtime),
      .change = time_of(found.stx_ctime),
      .birth = time_of(found.stx_btime),
  };
  return 0;
}

int linux_open_root(const char *path) {
  int fd;
  REPEATED(fd, open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  return fd < 0 ? -errno : fd;
}

int linux_open_path_beneath(int fd, const char *path) {
  struct open_how how = {
      .flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
      .resolve = RESOLVE_NO_SYMLINKS,
  };
  long opened;
  REPEATED(opened, syscall(SYS_openat2, fd, path, &how, sizeof how));
  // Sandboxes that do not know the call answer EPERM, which O_PATH itself never gives.
  if (opened < 0) return errno == EPERM ? -ENOSYS : -errno;
  return (int)opened;
}

int linux_open_path_component(int fd, const char *name) {
  int opened;
  REPEATED(opened, openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  return opened < 0 ? -errno : opened;
}

int linux_open_reading(int fd, const char *name, int is_directory) {
  int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  int opened;
  if (is_directory) flags |= O_DIRECTORY;
  REPEATED(opened, openat(fd, name, flags | O_NOATIME));
  if (opened < 0 && errno == EPERM) REPEATED(opened, openat(fd, name, flags));
  return opened < 0 ? -errno : opened;
}

int64_t linux_directory_read(int fd, void *buffer, size_t byte_count) {
  long count;
  REPEATED(count, syscall(SYS_getdents64, fd, buffer, byte_count));
  return count < 0 ? -errno : count;
}

// Set once the kernel has refused listxattrat or getxattrat.
static atomic_int xattrat_is_missing;

void linux_xattrat_avoid(int avoid) {
  atomic_store_explicit(&xattrat_is_missing, avoid, memory_order_relaxed);
}

static int is_missing(int error) {
  if (error != ENOSYS && error != EPERM) return 0;
  atomic_store_explicit(&xattrat_is_missing, 1, memory_order_relaxed);
  return 1;
}

// Never cuts a name short: what is too long, the kernel refuses.
#define PROC_PATH_MAX (PATH_MAX + 64)

static void print_proc_path(char *path, size_t byte_count, int fd, const char *name) {
  snprintf(path, byte_count, "/proc/self/fd/%d/%s", fd, name);
}

// A missing /proc must not look like a missing file.
static int64_t proc_error(int error) {
  if (error == ENOENT && access("/proc/self/fd", F_OK) < 0) return -ENOSYS;
  return -error;
}

int64_t linux_xattr_list(int fd, const char *name, char *buffer, size_t byte_count) {
  char path[PROC_PATH_MAX];
  ssize_t count;
  if (!*name) {
    count = flistxattr(fd, buffer, byte_count);
    return count < 0 ? -errno : count;
  }
  if (!atomic_load_explicit(&xattrat_is_missing, memory_order_relaxed)) {
    count = syscall(SYS_listxattrat, fd, name, AT_SYMLINK_NOFOLLOW, buffer, byte_count);
    if (count >= 0) return count;
    if (!is_missing(errno)) return -errno;
  }
  print_proc_path(path, sizeof path, fd, name);
  count = llistxattr(path, buffer, byte_count);
  return count < 0 ? proc_error(errno) : count;
}

int64_t linux_xattr_get(
    int fd, const char *name, const char *key, void *buffer, size_t byte_count) {
  char path[PROC_PATH_MAX];
  ssize_t count;
  if (!*name) {
    count = fgetxattr(fd, key, buffer, byte_count);
    return count < 0 ? -errno : count;
  }
  if (!atomic_load_explicit(&xattrat_is_missing, memory_order_relaxed)) {
    struct value_buffer value = {(uint64_t)(uintptr_t)buffer, (uint32_t)byte_count, 0};
    count = syscall(
        SYS_getxattrat, fd, name, AT_SYMLINK_NOFOLLOW, key, &value, sizeof value);
    if (count >= 0) return count;
    // EPERM can be the attribute's own answer: the older call decides.
    if (errno != ENOSYS && errno != EPERM) return -errno;
  }
  print_proc_path(path, sizeof path, fd, name);
  count = lgetxattr(path, key, buffer, byte_count);
  return count < 0 ? proc_error(errno) : count;
}

int linux_xattr_set(
    int fd, const char *name, const char *key, const void *value, size_t byte_count) {
  char path[PROC_PATH_MAX];
  if (!*name) return fsetxattr(fd, key, value, byte_count, 0) < 0 ? -errno : 0;
  // Only the last part of this path is not ours, and a link there is not followed.
  print_proc_path(path, sizeof path, fd, name);
  return lsetxattr(path, key, value, byte_count, 0) < 0 ? (int)proc_error(errno) : 0;
}

int64_t linux_seek_data(int fd, int64_t offset) {
  off_t found = lseek(fd, offset, SEEK_DATA);
  return found < 0 ? -errno : found;
}

int64_t linux_seek_hole(int fd, int64_t offset) {
  off_t found = lseek(fd, offset, SEEK_HOLE);
  return found < 0 ? -errno : found;
}

int linux_open_unnamed(const char *directory) {
  char path[PATH_MAX];
  int fd;
  REPEATED(fd, open(directory, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600));
  if (fd >= 0) return fd;
  // What filesystems, and kernels, without O_TMPFILE answer.
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return -errno;
  int length = snprintf(path, sizeof path, "%s/.bcachefs-XXXXXX", directory);
  if (length < 0 || (size_t)length >= sizeof path) return -ENAMETOOLONG;
  REPEATED(fd, mkostemp(path, O_CLOEXEC));
  if (fd < 0) return -errno;
  if (unlink(path) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}
