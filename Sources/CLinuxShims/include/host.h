// SPDX-License-Identifier: GPL-2.0
// Calls for reading a tree of files: statx, getdents64, opening without a trace, extended
// attributes relative to a directory, data and holes.
//
// Where nothing else is said a function returns what the call returns, or minus the errno.
// Interrupted calls (EINTR) are repeated.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct linux_time {
  int64_t seconds;
  uint32_t nanoseconds;
};

struct linux_status {
  uint64_t device;
  uint64_t inode;
  uint64_t byte_count;
  uint64_t blocks_512;
  uint32_t mode;
  uint32_t link_count;
  uint32_t user;
  uint32_t group;
  uint32_t device_major;
  uint32_t device_minor;
  uint32_t has_birth;
  struct linux_time access;
  struct linux_time modification;
  struct linux_time change;
  struct linux_time birth;
};

/// statx of `name` in the directory `fd`, links not followed; of `fd` itself if `name` is empty.
int linux_status_get(int fd, const char *name, struct linux_status *out);

/// An O_PATH descriptor of the directory at `path`, links followed.
int linux_open_root(const char *path);

/// An O_PATH descriptor of the directory at the relative `path`, no link followed anywhere in it
/// (openat2); -ENOSYS where the kernel or a sandbox has no such call.
int linux_open_path_beneath(int fd, const char *path);

/// The same for one component, by openat.
int linux_open_path_component(int fd, const char *name);

/// Opens `name` for reading: never waits for a FIFO's writer, follows no link, takes no terminal,
/// and leaves the access time alone where the owner allows that.
int linux_open_reading(int fd, const char *name, int is_directory);

/// getdents64.
int64_t linux_directory_read(int fd, void *buffer, size_t byte_count);

/// The names of the extended attributes of `name` in `fd` (of `fd` itself if empty), each with its
/// NUL. -ERANGE: the buffer is too small. -ENOSYS: needs /proc, which is not mounted.
int64_t linux_xattr_list(int fd, const char *name, char *buffer, size_t byte_count);

/// Whether to do without listxattrat and getxattrat, as is done by itself where they are missing.
void linux_xattrat_avoid(int avoid);

/// The value of the attribute `key`.
int64_t linux_xattr_get(
    int fd, const char *name, const char *key, void *buffer, size_t byte_count);

/// Sets the attribute `key` of `name` in `fd`, links not followed (of `fd` itself if empty). 0 when
/// done. -ENOSYS: needs /proc, which is not mounted.
int linux_xattr_set(
    int fd, const char *name, const char *key, const void *value, size_t byte_count);

/// lseek with SEEK_DATA, SEEK_HOLE.
int64_t linux_seek_data(int fd, int64_t offset);
int64_t linux_seek_hole(int fd, int64_t offset);

/// A nameless file for reading and writing in `directory`: O_TMPFILE, else mkstemp and unlink.
int linux_open_unnamed(const char *directory);
