// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include "CLinuxShims.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const int linux_o_direct = O_DIRECT;
const int linux_o_tmpfile = O_TMPFILE;

uint32_t linux_device_major(dev_t device) { return major(device); }
uint32_t linux_device_minor(dev_t device) { return minor(device); }

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
