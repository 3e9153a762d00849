// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "CLinuxShims.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <linux/stat.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const int linux_o_direct = O_DIRECT;
const int linux_o_tmpfile = O_TMPFILE;

uint32_t linux_device_major(dev_t device) { return major(device); }
uint32_t linux_device_minor(dev_t device) { return minor(device); }

int linux_memory_file(void) { return memfd_create("bcachefs", MFD_CLOEXEC); }

static int in_range(int fd, int mode, uint64_t start, uint64_t byte_count) {
  while (fallocate(fd, mode, (off_t)start, (off_t)byte_count) < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int linux_punch_hole(int fd, uint64_t start, uint64_t byte_count) {
  return in_range(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, byte_count);
}

int linux_preallocate(int fd, uint64_t start, uint64_t byte_count) {
  return in_range(fd, 0, start, byte_count);
}

int linux_lock_whole_file(int fd) {
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl(fd, F_OFD_SETLK, &whole) < 0 ? (errno == EACCES ? EAGAIN : errno) : 0;
}

void linux_unlock_whole_file(int fd) {
  struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  (void)fcntl(fd, F_OFD_SETLK, &whole);
}

int linux_link_descriptor(int fd, const char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? errno : 0;
}

int linux_rename_noreplace(const char *from, const char *to) {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 ? errno : 0;
}

int linux_block_geometry_get(int fd, struct linux_block_geometry *out) {
  int logical = 0;
  unsigned int physical = 0;
  unsigned short rotational = 0;
  memset(out, 0, sizeof *out);
  if (ioctl(fd, BLKGETSIZE64, &out->byte_count) < 0) return errno;
  if (ioctl(fd, BLKSSZGET, &logical) < 0) return errno;
  if (ioctl(fd, BLKPBSZGET, &physical) < 0) physical = (unsigned int)logical;
  if (ioctl(fd, BLKROTATIONAL, &rotational) < 0) rotational = 0;
  out->logical_block_bytes = (uint32_t)logical;
  out->physical_block_bytes = physical;
  out->is_rotational = rotational;
  return 0;
}

static int on_range(int fd, unsigned long request, uint64_t start, uint64_t byte_count) {
  uint64_t range[2] = {start, byte_count};
  return ioctl(fd, request, range) < 0 ? errno : 0;
}

int linux_block_discard(int fd, uint64_t start, uint64_t byte_count) {
  return on_range(fd, BLKDISCARD, start, byte_count);
}

int linux_block_zero(int fd, uint64_t start, uint64_t byte_count) {
  return on_range(fd, BLKZEROOUT, start, byte_count);
}

int linux_direct_alignment(int fd, uint32_t *memory, uint32_t *offset) {
#ifdef STATX_DIOALIGN
  struct statx buffer;
  memset(&buffer, 0, sizeof buffer);
  if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &buffer) < 0) return errno;
  if (!(buffer.stx_mask & STATX_DIOALIGN) || !buffer.stx_dio_offset_align) return ENOTSUP;
  *memory = buffer.stx_dio_mem_align;
  *offset = buffer.stx_dio_offset_align;
  return 0;
#else
  (void)fd, (void)memory, (void)offset;
  return ENOTSUP;
#endif
}

int linux_loop_backing(int fd, uint64_t *device, uint64_t *inode) {
  struct loop_info64 info;
  if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0) return errno;
  *device = info.lo_device;
  *inode = info.lo_inode;
  return 0;
}

// MARK: temporary names

enum { temporary_max = 64 };

// A slot's state is changed by atomic stores, as the handler may look at any moment: a path is
// whole before its slot is marked as used, and no longer used before it changes.
static struct {
  _Atomic int is_used;
  char path[PATH_MAX];
} temporaries[temporary_max];

static pthread_mutex_t temporaries_lock = PTHREAD_MUTEX_INITIALIZER;

// Only calls that POSIX allows in a handler: unlink, sigaction, raise.
static void remove_temporaries(int number) {
  for (int i = 0; i < temporary_max; i++) {
    if (temporaries[i].is_used) unlink(temporaries[i].path);
  }
  struct sigaction action = {.sa_handler = SIG_DFL};
  sigaction(number, &action, NULL);
  raise(number);
}

static void handle_signals(void) {
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    struct sigaction action;
    if (sigaction(numbers[i], NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) &&
        action.sa_handler == SIG_DFL) {
      action = (struct sigaction){.sa_handler = remove_temporaries};
      sigaction(numbers[i], &action, NULL);
    }
  }
}

int linux_temporary_add(const char *path) {
  if (strlen(path) >= PATH_MAX) return ENAMETOOLONG;
  int result = EMFILE;
  pthread_mutex_lock(&temporaries_lock);
  for (int i = 0; i < temporary_max; i++) {
    if (temporaries[i].is_used) continue;
    strcpy(temporaries[i].path, path);
    temporaries[i].is_used = 1;
    handle_signals();
    result = 0;
    break;
  }
  pthread_mutex_unlock(&temporaries_lock);
  return result;
}

void linux_temporary_forget(const char *path) {
  pthread_mutex_lock(&temporaries_lock);
  for (int i = 0; i < temporary_max; i++) {
    if (temporaries[i].is_used && strcmp(temporaries[i].path, path) == 0) temporaries[i].is_used = 0;
  }
  pthread_mutex_unlock(&temporaries_lock);
}

int linux_ioctl(int fd, uint32_t number, void *argument) {
  return ioctl(fd, (unsigned long)number, argument) < 0 ? errno : 0;
}

// struct bch_ioctl_subvolume of bcachefs_ioctl.h.
struct bch_subvolume_argument {
  uint32_t flags;
  uint32_t dirfd;
  uint16_t mode;
  uint16_t pad[3];
  uint64_t dst;
  uint64_t src;
};

int linux_bcachefs_subvolume(
    int fd, int deletes, uint32_t flags, uint16_t mode, const char *path, const char *source) {
  struct bch_subvolume_argument argument = {
      .flags = flags,
      .dirfd = (uint32_t)AT_FDCWD,
      .mode = mode,
      .dst = (uint64_t)(uintptr_t)path,
      .src = (uint64_t)(uintptr_t)source,
  };
  unsigned long number = deletes ? _IOW(0xbc, 17, struct bch_subvolume_argument)
                                 : _IOW(0xbc, 16, struct bch_subvolume_argument);
  return ioctl(fd, number, &argument) < 0 ? errno : 0;
}

int linux_filesystem_type(int fd, uint64_t *out) {
  struct statfs state;
  if (fstatfs(fd, &state) < 0) return errno;
  *out = (uint64_t)state.f_type & 0xffffffff;
  return 0;
}

void linux_sync_filesystem(int fd) { (void)!syncfs(fd); }
