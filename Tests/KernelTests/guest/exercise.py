#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# exercise.py DIR MODELS SEED OPERATIONS: works on some files of DIR in every way that system calls have, beside copies in memory.
# What is read has to be what the copies say. They are kept in MODELS, and compared with the files when it is run again: after
# the next mount. A difference ends it with status 1, and the last operations.
import ctypes
import errno
import mmap
import os
import random
import sys

top, models, seed, operations = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
draw = random.Random(seed)
libc = ctypes.CDLL(None, use_errno=True)
FILES = ["a", "b", "c"]
LIMIT = 400 << 10
KEEP_SIZE, PUNCH, ZERO = 1, 2, 0x10
done = []


class Wrong(Exception):
    pass


def data(count):
    """Noise, or what compresses."""
    if draw.random() < 0.4:
        return draw.randbytes(count)
    return (b"%x." % draw.randrange(1 << 30) * (count // 3 + 1))[:count]


def fallocate(file, mode, start, length):
    if libc.fallocate(file, mode, ctypes.c_long(start), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def first_difference(seen, wanted):
    for place, (left, right) in enumerate(zip(seen, wanted)):
        if left != right:
            return place
    return min(len(seen), len(wanted))


class File:
    def __init__(self, name):
        self.name = name
        self.path = os.path.join(top, name)
        self.bytes = bytearray()
        self.handle = None

    def load(self):
        saved = os.path.join(models, self.name)
        if os.path.exists(saved):
            with open(saved, "rb") as file:
                self.bytes = bytearray(file.read())
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self.check("after the mount")

    def save(self):
        self.check("at the end")
        with open(os.path.join(models, self.name), "wb") as file:
            file.write(self.bytes)
        os.close(self.handle)

    def reopen(self):
        os.close(self.handle)
        self.handle = os.open(self.path, os.O_RDWR)

    def check(self, when):
        size = os.fstat(self.handle).st_size
        if size != len(self.bytes):
            raise Wrong("%s %s: %d bytes, not %d" % (self.name, when, size, len(self.bytes)))
        self.compare(os.pread(self.handle, LIMIT * 2, 0), 0, when)

    def compare(self, seen, start, when):
        wanted = bytes(self.bytes[start:start + len(seen)])
        if seen != wanted:
            place = start + first_difference(seen, wanted)
            raise Wrong("%s %s: differs at byte %d of %d" % (self.name, when, place, len(self.bytes)))

    def put(self, start, new):
        if len(self.bytes) < start:
            self.bytes += bytes(start - len(self.bytes))
        self.bytes[start:start + len(new)] = new

    def clear(self, start, end):
        end = min(end, len(self.bytes))
        if start < end:
            self.bytes[start:end] = bytes(end - start)

    def resize(self, size):
        del self.bytes[size:]
        self.bytes += bytes(size - len(self.bytes))


def place(file):
    """Anywhere, or near the end."""
    if draw.random() < 0.4:
        return max(0, len(file.bytes) + draw.randrange(-5000, 5000)) % LIMIT
    return draw.randrange(LIMIT)


def length():
    return draw.choice([draw.randrange(1, 600), draw.randrange(1, 9000), draw.randrange(1, 150000)])


def write(file, other):
    start, new = place(file), data(length())
    done.append(("write", file.name, start, len(new)))
    os.pwrite(file.handle, new, start)
    file.put(start, new)


def append(file, other):
    new = data(draw.randrange(1, 5000))
    if len(file.bytes) + len(new) > 2 * LIMIT:
        return
    done.append(("append", file.name, len(file.bytes), len(new)))
    handle = os.open(file.path, os.O_WRONLY | os.O_APPEND)
    os.write(handle, new)
    os.close(handle)
    file.put(len(file.bytes), new)


def write_directly(file, other):
    start, count = place(file) & ~4095, draw.randrange(1, 40) * 4096
    done.append(("write directly", file.name, start, count))
    buffer = mmap.mmap(-1, count)
    new = data(count)
    buffer[:] = new
    handle = os.open(file.path, os.O_RDWR | os.O_DIRECT)
    try:
        os.pwritev(handle, [buffer], start)
    finally:
        os.close(handle)
    file.put(start, new)


def read_directly(file, other):
    start, count = place(file) & ~4095, draw.randrange(1, 40) * 4096
    done.append(("read directly", file.name, start, count))
    buffer = mmap.mmap(-1, count)
    handle = os.open(file.path, os.O_RDONLY | os.O_DIRECT)
    try:
        got = os.preadv(handle, [buffer], start)
    finally:
        os.close(handle)
    if got != max(0, min(count, len(file.bytes) - start)):
        raise Wrong("%s: %d bytes read directly at %d of %d" % (file.name, got, start, len(file.bytes)))
    file.compare(buffer[:got], start, "read directly")


def read(file, other):
    start, count = place(file), length()
    done.append(("read", file.name, start, count))
    seen = os.pread(file.handle, count, start)
    if len(seen) != max(0, min(count, len(file.bytes) - start)):
        raise Wrong("%s: %d bytes read at %d of %d" % (file.name, len(seen), start, len(file.bytes)))
    file.compare(seen, start, "read")


def map_and_write(file, other):
    if not file.bytes:
        return
    start = draw.randrange(len(file.bytes))
    new = data(min(length(), len(file.bytes) - start))
    done.append(("map and write", file.name, start, len(new)))
    with mmap.mmap(file.handle, len(file.bytes)) as memory:
        file.compare(memory[start:start + len(new)], start, "mapped")
        memory[start:start + len(new)] = new
        if draw.random() < 0.3:
            memory.flush()
    file.put(start, new)


def truncate(file, other):
    size = place(file)
    done.append(("truncate", file.name, len(file.bytes), size))
    os.ftruncate(file.handle, size)
    file.resize(size)


def allocate(file, other):
    start, count, keeps = place(file), length(), draw.random() < 0.5
    done.append(("allocate", file.name, start, count, keeps))
    fallocate(file.handle, KEEP_SIZE if keeps else 0, start, count)
    if not keeps:
        file.resize(max(len(file.bytes), start + count))


def punch(file, other):
    start, count = place(file), length()
    done.append(("punch", file.name, start, count))
    fallocate(file.handle, PUNCH | KEEP_SIZE, start, count)
    file.clear(start, start + count)


def zero(file, other):
    start, count, keeps = place(file), length(), draw.random() < 0.5
    done.append(("zero", file.name, start, count, keeps))
    fallocate(file.handle, ZERO | (KEEP_SIZE if keeps else 0), start, count)
    file.clear(start, start + count)
    if not keeps:
        file.resize(max(len(file.bytes), start + count))


def copy(file, other):
    start, count, target = place(other), length(), place(file)
    if draw.random() < 0.6:
        start, target, count = start & ~4095, target & ~4095, (count + 4095) & ~4095
    if file is other and start < target + count and target < start + count:
        return
    done.append(("copy", other.name, start, file.name, target, count))
    got = os.copy_file_range(other.handle, file.handle, count, start, target)
    new = bytes(other.bytes[start:start + got])
    if len(new) != got:
        raise Wrong("%d bytes copied from %d of %d" % (got, start, len(other.bytes)))
    if got > 0:
        file.put(target, new)


def holes(file, other):
    start = draw.randrange(len(file.bytes) + 1)
    done.append(("holes", file.name, start))
    try:
        data_start = os.lseek(file.handle, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        data_start = len(file.bytes)
    if any(file.bytes[start:data_start]):
        raise Wrong("%s: %d..%d is no hole" % (file.name, start, data_start))
    if data_start < len(file.bytes):
        end = os.lseek(file.handle, data_start, os.SEEK_HOLE)
        if not data_start < end <= len(file.bytes):
            raise Wrong("%s: data at %d ends at %d" % (file.name, data_start, end))


def synchronise(file, other):
    done.append(("fsync", file.name))
    os.fsync(file.handle)


def forget(file, other):
    done.append(("forget", file.name))
    os.posix_fadvise(file.handle, 0, 0, os.POSIX_FADV_DONTNEED)


def reopen(file, other):
    done.append(("reopen", file.name))
    file.reopen()


def replace(file, other):
    """A new file is renamed over one, as editors save."""
    new = data(length())
    done.append(("replace", file.name, len(new)))
    path = file.path + ".new"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(handle, new)
    if draw.random() < 0.5:
        os.fsync(handle)
    os.rename(path, file.path)
    os.close(file.handle)
    file.handle, file.bytes = handle, bytearray(new)


WORK = (
    [write] * 6 + [append] * 2 + [read] * 4 + [map_and_write] * 3 + [write_directly] * 2 + [read_directly] * 2
    + [truncate] * 2 + [allocate, punch, punch, zero, copy, copy, holes, synchronise, forget, forget, reopen, replace])

files = [File(name) for name in FILES]
try:
    for file in files:
        file.load()
    for number in range(operations):
        draw.choice(WORK)(draw.choice(files), draw.choice(files))
        if number % 500 == 499:
            for file in files:
                file.check("after %d operations" % number)
    for file in files:
        file.save()
except Wrong as wrong:
    print("seed %d, operation %d: %s" % (seed, len(done), wrong))
    for operation in done[-30:]:
        print(*operation)
    sys.exit(1)
