// SPDX-License-Identifier: GPL-2.0
// Constants and calls of Linux that Swift cannot import as they are: ioctls (variadic, with
// function-like macros for numbers), and what must run inside a signal handler.
#pragma once
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

// Behind _GNU_SOURCE, which Swift's import of the C library does not define.
extern const int linux_o_direct;
extern const int linux_o_tmpfile;
uint32_t linux_device_major(dev_t device);
uint32_t linux_device_minor(dev_t device);

/// An unnamed file in memory: its descriptor, or -1 and errno.
int linux_memory_file(void);

// Every function from here on returns 0, or the errno of what failed.

/// Frees a file's blocks in a range, which reads as zeros afterwards; the size stays.
int linux_punch_hole(int fd, uint64_t start, uint64_t byte_count);

/// Reserves a file's blocks in a range, growing it where needed.
int linux_preallocate(int fd, uint64_t start, uint64_t byte_count);

/// A write lock of the open file description (F_OFD_SETLK) over the whole file; EAGAIN if others
/// have one.
int linux_lock_whole_file(int fd);

/// Gives that lock back, for every descriptor of the open file description.
void linux_unlock_whole_file(int fd);

/// Gives the unnamed file (O_TMPFILE) of a descriptor a name; EEXIST if that exists.
int linux_link_descriptor(int fd, const char *path);

/// Renames, but not over an existing name: EEXIST.
int linux_rename_noreplace(const char *from, const char *to);

/// What the block layer says of an open block device.
struct linux_block_geometry {
  uint64_t byte_count;
  uint32_t logical_block_bytes;
  uint32_t physical_block_bytes;
  uint32_t is_rotational;
};

int linux_block_geometry_get(int fd, struct linux_block_geometry *out);

/// BLKDISCARD: what stood there is undefined afterwards. Both numbers in bytes.
int linux_block_discard(int fd, uint64_t start, uint64_t byte_count);

/// BLKZEROOUT: reads as zeros afterwards. Both numbers in bytes.
int linux_block_zero(int fd, uint64_t start, uint64_t byte_count);

/// What O_DIRECT asks of addresses and of offsets, in bytes; ENOTSUP where the kernel does not say
/// (before Linux 6.1).
int linux_direct_alignment(int fd, uint32_t *memory, uint32_t *offset);

/// Device and inode number of the file behind an open loop device (as in struct stat).
int linux_loop_backing(int fd, uint64_t *device, uint64_t *inode);

/// An ioctl whose argument is memory.
int linux_ioctl(int fd, uint32_t number, void *argument);

/// BCH_IOCTL_SUBVOLUME_CREATE, or BCH_IOCTL_SUBVOLUME_DESTROY if `deletes`, on a mount of the
/// kernel's driver, by a directory of it. Paths are relative to the working directory; `source` may
/// be NULL.
int linux_bcachefs_subvolume(
    int fd, int deletes, uint32_t flags, uint16_t mode, const char *path, const char *source);

/// Has the kernel write what it has of the filesystem that an open file is on.
void linux_sync_filesystem(int fd);

/// The type of the filesystem that an open file is on (f_type of fstatfs).
int linux_filesystem_type(int fd, uint64_t *out);

// Files that have a temporary name must not outlive the process. What cannot be an unnamed file is
// kept in a small table, and removed by the handler of SIGINT, SIGTERM and SIGHUP, which then lets
// the signal do what it did before. Handlers are only put where the program has none of its own.

/// Remembers `path` for removal. EMFILE when the table is full, ENAMETOOLONG.
int linux_temporary_add(const char *path);

/// Forgets `path`: it has its final name, or is removed.
void linux_temporary_forget(const char *path);

#include "host.h"
#include "keyring.h"
