#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""change.py DIR SEED: touches what is already in a tree: a part of its files is overwritten, extended, truncated, punched, cloned,
renamed (also over others), linked, removed, given attributes and modes; some directories are renamed, one is removed.
Reproducible from the seed."""
import ctypes, errno, fcntl, os, random, shutil, stat, sys

root, rnd = os.fsencode(sys.argv[1]), random.Random(int(sys.argv[2]))
FICLONE = 0x40049409
PUNCH_HOLE, ZERO_RANGE = 3, 0x10
libc = ctypes.CDLL(None, use_errno=True)
files, folders = [], []
for top, dirs, names in os.walk(root):
    dirs[:] = sorted(d for d in dirs if d != b"lost+found")
    folders += [os.path.join(top, d) for d in dirs]
    files += [p for p in (os.path.join(top, n) for n in sorted(names)) if stat.S_ISREG(os.lstat(p).st_mode)]


def overwrite(path):
    with open(path, "r+b") as f:
        f.seek(rnd.randrange(os.fstat(f.fileno()).st_size % (1 << 20) + 1))
        f.write(rnd.randbytes(rnd.randrange(1, 9000)))


def extend(path):
    with open(path, "ab") as f:
        f.write(rnd.randbytes(rnd.randrange(1, 5000)))


def fallocate(path, mode):
    """Anywhere, behind the end too; of some files when they have just become longer."""
    with open(path, "r+b", buffering=0) as f:
        size = os.fstat(f.fileno()).st_size
        if rnd.randrange(2):
            size += os.pwrite(f.fileno(), rnd.randbytes(rnd.randrange(1, 9000)), size)
        start, length = rnd.randrange(size % (1 << 20) + 1), rnd.randrange(1, 50000)
        if libc.fallocate(f.fileno(), mode, ctypes.c_long(start), ctypes.c_long(length)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")


def replace(path):
    os.rename(path, rnd.choice(files))


def clone(path):
    with open(path, "rb") as source, open(path[:-1] + b"~clone", "wb") as target:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())


changes = [
    overwrite,
    extend,
    clone,
    replace,
    lambda path: fallocate(path, PUNCH_HOLE),
    lambda path: fallocate(path, ZERO_RANGE),
    lambda path: os.truncate(path, rnd.randrange(60000)),
    lambda path: os.rename(path, path[:-1] + b"~renamed"),
    lambda path: os.link(path, path[:-1] + b"~linked"),
    os.unlink,
    lambda path: os.setxattr(path, b"user.changed", rnd.randbytes(rnd.randrange(200))),
    lambda path: os.chmod(path, rnd.choice((0o600, 0o644, 0o4711))),
]
done = 0
for path in rnd.sample(files, min(len(files), 400)):
    if b"/sparse" in path:
        continue
    try:
        rnd.choice(changes)(path)
        done += 1
    except OSError as error:
        # the name is taken or too long, the file is a read-only snapshot's, or has gone; over FUSE nothing is cloned
        if error.errno not in (
            errno.EEXIST, errno.EROFS, errno.EXDEV, errno.ENAMETOOLONG, errno.ENOENT, errno.EOPNOTSUPP,
        ):
            raise
removable = [path for path in folders if path.count(b"/") == root.rstrip(b"/").count(b"/") + 2]
if removable:
    shutil.rmtree(rnd.choice(removable), ignore_errors=True)
# deepest first, so that no path is renamed under another
for path in sorted(rnd.sample(folders, min(len(folders), 5)), reverse=True):
    try:
        os.rename(path, path + b"~")
        done += 1
    except OSError as error:
        # besides, a subvolume's root is not renamed like that
        if error.errno not in (
            errno.EEXIST, errno.ENOTEMPTY, errno.EROFS, errno.EXDEV, errno.EINVAL, errno.ENOENT, errno.ENAMETOOLONG,
        ):
            raise
print(f"change.py: {done} changes, seed {sys.argv[2]}", file=sys.stderr)
