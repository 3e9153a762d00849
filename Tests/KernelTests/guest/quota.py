#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Quotas of a mounted volume by quotactl_fd(2): the tools of Debian do not know bcachefs.

quota.py report MOUNT
    a line for each type that is on and everybody who uses something or has limits, ascending:
    TYPE ID SECTORS INODES SPACE_HARD SPACE_SOFT INODES_HARD INODES_SOFT
    and one for each type: TYPE grace SPACE INODES, in seconds
quota.py set MOUNT TYPE ID SPACE_HARD SPACE_SOFT INODES_HARD INODES_SOFT    in sectors
quota.py grace MOUNT TYPE SPACE INODES
quota.py fill FOLDER UID SECTORS
    as a user: files f0, f1, ... of so many sectors until one is refused; prints how many there are,
    how many sectors the last one has, and why it ended
"""
import ctypes, errno, os, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
QUOTACTL_FD = 443
GET_INFO, SET_INFO = 0x800005, 0x800006
XSET_LIMITS, XGET_NEXT = 0x5804, 0x5809
TYPES = ["user", "group", "project"]
# struct fs_disk_quota
DISK_QUOTA = struct.Struct("<bbHI6QiiHHbbbxQQQiHh8s")
SPACE_AND_INODE_LIMITS = 0xf
# struct if_dqinfo
INFO = struct.Struct("<QQII")


def control(mount, command, kind, number, data):
    buffer = ctypes.create_string_buffer(data, len(data))
    directory = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = libc.syscall(QUOTACTL_FD, directory, command << 8 | kind, number, buffer)
    finally:
        os.close(directory)
    if done != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw


def report(mount):
    for kind, name in enumerate(TYPES):
        try:
            grace = control(mount, GET_INFO, kind, 0, bytes(INFO.size))
        except OSError as error:
            if error.errno == errno.ESRCH:  # the type is off
                continue
            raise
        number = 0
        while number < 1 << 32:
            try:
                found = control(mount, XGET_NEXT, kind, number, bytes(DISK_QUOTA.size))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    break
                raise
            (_, _, _, number, space_hard, space_soft, inodes_hard, inodes_soft, sectors,
             inodes) = DISK_QUOTA.unpack(found)[:10]
            print(name, number, sectors, inodes, space_hard, space_soft, inodes_hard, inodes_soft)
            number += 1
        space, inodes, _, _ = INFO.unpack(grace)
        print(name, "grace", space, inodes)


def set_limits(mount, name, number, *limits):
    space_hard, space_soft, inodes_hard, inodes_soft = map(int, limits)
    data = DISK_QUOTA.pack(
        1, 1 << TYPES.index(name), SPACE_AND_INODE_LIMITS, int(number), space_hard, space_soft,
        inodes_hard, inodes_soft, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"")
    control(mount, XSET_LIMITS, TYPES.index(name), int(number), data)


def set_grace(mount, name, space, inodes):
    control(mount, SET_INFO, TYPES.index(name), 0, INFO.pack(int(space), int(inodes), 0, 3))


def fill(folder, user, sectors):
    os.setgid(int(user))
    os.setuid(int(user))
    count, reason = 0, None
    size = 0
    while reason is None:
        try:
            file = os.open(f"{folder}/f{count}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            count += 1
            size = 0
            try:
                while size < int(sectors):
                    size += os.write(file, b"q" * 4096) // 512
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            reason = errno.errorcode[error.errno]
    print(count, size, reason)


action, *words = sys.argv[1:]
{"report": report, "set": set_limits, "grace": set_grace, "fill": fill}[action](*words)
