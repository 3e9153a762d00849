#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# change.py DIR SEED: changes what is in a tree, the same way for the same tree and seed: files are overwritten in the middle,
# made longer and shorter, punched, renamed over others, linked and deleted, and so are directories and attributes. What it does
# it says on standard error.
import ctypes
import os
import random
import shutil
import stat
import sys

top, seed = sys.argv[1], int(sys.argv[2])
draw = random.Random(seed)
libc = ctypes.CDLL(None, use_errno=True)


def data(count):
    """Noise, or what compresses."""
    if draw.random() < 0.5:
        return draw.randbytes(count)
    return (b"%d turns and turns again; " % draw.randrange(100) * (count // 20 + 1))[:count]


def say(*words):
    print(*map(ascii, words), file=sys.stderr)


def all_paths():
    files, folders = [], []
    for path, names, leaves in os.walk(top):
        names.sort()
        folders += [os.path.join(path, name) for name in names if name != "lost+found"]
        files += [os.path.join(path, name) for name in sorted(leaves)]
    return files, [folder for folder in folders if not os.path.islink(folder)]


def punch(file, start, length):
    # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    if libc.fallocate(file, 3, ctypes.c_long(start), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def change_contents(path):
    size = os.lstat(path).st_size
    file = os.open(path, os.O_RDWR)
    try:
        kind = draw.randrange(5)
        start = draw.randrange(size + 1)
        say("contents", kind, start, size, path)
        if kind == 0:
            os.pwrite(file, data(draw.randrange(1, 70000)), start)
        elif kind == 1:
            os.pwrite(file, data(draw.randrange(1, 9000)), size)
        elif kind == 2:
            os.ftruncate(file, start)
        elif kind == 3:
            os.ftruncate(file, size + draw.randrange(200000))
        elif size > 0:
            punch(file, start, draw.randrange(1, 50000))
        if draw.random() < 0.3:
            os.fsync(file)
    finally:
        os.close(file)


def change(path, others, number):
    new = os.path.join(os.path.dirname(path), "%s.%d-%d" % (os.path.basename(path)[:40], seed, number))
    kind = draw.randrange(12)
    status = os.lstat(path)
    say(kind, path, status.st_ino, status.st_size)
    if kind < 5 and stat.S_ISREG(status.st_mode):
        change_contents(path)
    elif kind == 5:
        os.unlink(path)
    elif kind == 6:
        os.rename(path, new)
    elif kind == 7:
        other = draw.choice(others)
        if os.path.lexists(other) and not os.path.samefile(os.path.dirname(other), top):
            os.rename(path, other)
    elif kind == 8 and not stat.S_ISLNK(status.st_mode):
        os.link(path, new)
    elif kind == 9 and stat.S_ISREG(status.st_mode):
        os.setxattr(path, "user.turn", b"%d" % number * draw.randrange(1, 50))
    elif kind == 10 and not stat.S_ISLNK(status.st_mode):
        os.chmod(path, draw.choice([0o600, 0o640, 0o755]))
    elif kind == 11:
        os.symlink(path, new)


files, folders = all_paths()
for number, path in enumerate(draw.sample(files, min(len(files), 150))):
    if os.path.lexists(path):
        change(path, files, number)
for number, folder in enumerate(draw.sample(folders, min(len(folders), 6))):
    if os.path.isdir(folder):
        if number % 3 == 0:
            shutil.rmtree(folder)
        else:
            os.rename(folder, "%s.%d" % (folder, number))
os.sync()
