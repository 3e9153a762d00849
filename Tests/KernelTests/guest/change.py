#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""change.py DIR SEED: touches what is already in a tree: a part of its files is overwritten, extended, truncated, cloned,
renamed, linked, removed, given attributes and modes; some directories are renamed. Reproducible from the seed."""
import errno, fcntl, os, random, stat, sys

root, rnd = os.fsencode(sys.argv[1]), random.Random(int(sys.argv[2]))
FICLONE = 0x40049409
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


def clone(path):
    with open(path, "rb") as source, open(path[:-1] + b"~clone", "wb") as target:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())


changes = [
    overwrite,
    extend,
    clone,
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
        # the name is taken, or the file is a read-only snapshot's
        if error.errno not in (errno.EEXIST, errno.EROFS):
            raise
# deepest first, so that no path is renamed under another
for path in sorted(rnd.sample(folders, min(len(folders), 5)), reverse=True):
    try:
        os.rename(path, path + b"~")
        done += 1
    except OSError as error:
        # besides, a subvolume's root is not renamed like that
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.EROFS, errno.EXDEV, errno.EINVAL):
            raise
print(f"change.py: {done} changes, seed {sys.argv[2]}", file=sys.stderr)
