#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""age.py DIR --seed N --seconds S [--operations N] [--cut]: lets a mounted volume grow old, as fsstress does. Files are
made, written, overwritten, truncated, punched, cloned, renamed, linked, given attributes, ACLs and options of their own, and
removed; subvolumes and snapshots come and go; compression and checksums of the whole volume change on the way. The same seed
gives the same operations, as many as fit into the time. --cut powers the machine off in the middle, without unmounting.

Ranges are not inserted or collapsed: Linux 6.12 never comes back from that in a file that is kept in its btree key, and goes
read-only for good in files that snapshots share."""
import argparse, ctypes, errno, fcntl, glob, os, random, struct, sys, time

ap = argparse.ArgumentParser()
ap.add_argument("dir")
ap.add_argument("--seed", type=int, required=True)
ap.add_argument("--seconds", type=float, required=True)
ap.add_argument("--operations", type=int, default=1 << 60)
ap.add_argument("--cut", action="store_true")
a = ap.parse_args()
rnd = random.Random(a.seed)
root = os.fsencode(a.dir)
libc = ctypes.CDLL(None, use_errno=True)

FICLONE, FICLONERANGE = 0x40049409, 0x4020940D
SUBVOLUME_CREATE, SUBVOLUME_DESTROY = 0x4020BC10, 0x4020BC11
IS_SNAPSHOT, READ_ONLY, AT_FDCWD = 1, 2, 0xFFFFFF9C
KEEP_SIZE, PUNCH, ZERO = 1, 2, 16
FILES_MAX, SUBVOLUMES_MAX, FILE_BYTES_MAX = 900, 8, 3 << 20

files, folders, subvolumes = [], [root], []
text = b" ".join(rnd.choice([b"extent", b"bucket", b"journal", b"snapshot"]) for _ in range(30000))


def survey(top):
    """What is below a folder becomes known."""
    folders.append(top)
    for above, dirs, names in os.walk(top):
        dirs.sort()
        folders.extend(os.path.join(above, d) for d in dirs)
        files.extend(p for p in (os.path.join(above, n) for n in sorted(names)) if os.path.isfile(p) and not os.path.islink(p))


def forget(top):
    """Nothing below a folder is there any more."""
    inside = lambda path: path == top or path.startswith(top + b"/")
    for known in (files, folders, subvolumes):
        known[:] = [path for path in known if not inside(path)]


def data():
    count = rnd.choice((3, 100, 700, 4096, 5000, 20000, 66000, 150000, rnd.randrange(1, 400000)))
    start = rnd.randrange(1000)
    return rnd.randbytes(count) if rnd.random() < 0.5 else text[start : start + count]


def fresh(folder):
    length = rnd.choice((1, 8, 8, 8, 40, 200))
    return os.path.join(folder, bytes(rnd.choice(b"abcdefghijklmnopqrstuvwxyz-\xc3\xff") for _ in range(length)) + b"%d" % rnd.randrange(10**6))


def any_file():
    return rnd.choice(files)


def any_folder():
    return rnd.choice(folders)


def offset(f):
    at = rnd.randrange(min(os.fstat(f.fileno()).st_size, FILE_BYTES_MAX) + 4096)
    return at & ~4095 if rnd.random() < 0.5 else at


def create():
    path = fresh(any_folder())
    with open(path, "xb") as f:
        files.append(path)
        f.write(data())
        if rnd.random() < 0.1:
            os.fsync(f.fileno())


def overwrite():
    with open(any_file(), "r+b") as f:
        for _ in range(rnd.choice((1, 1, 3, 20))):
            f.seek(offset(f))
            f.write(data())


def append():
    path = any_file()
    if os.path.getsize(path) < FILE_BYTES_MAX:
        with open(path, "ab") as f:
            f.write(data())


def write_directly():
    path = any_file()
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        count = 4096 * rnd.randrange(1, 33)
        os.pwritev(fd, [page_aligned(count)], 4096 * rnd.randrange(200))
    finally:
        os.close(fd)


def page_aligned(count):
    import mmap
    memory = mmap.mmap(-1, count)
    memory.write(rnd.randbytes(count))
    return memory


def truncate():
    os.truncate(any_file(), rnd.choice((0, rnd.randrange(10000), rnd.randrange(1 << 20))))


def allocate(mode):
    with open(any_file(), "r+b") as f:
        at, count = offset(f), rnd.randrange(1, 200000)
        if libc.fallocate(f.fileno(), mode, ctypes.c_long(at), ctypes.c_long(count)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")


def rename():
    source = any_file()
    target = any_file() if rnd.random() < 0.2 else fresh(any_folder())
    os.rename(source, target)
    if source != target:
        files.remove(source)
        if target not in files:
            files.append(target)


def rename_folder():
    source = rnd.choice(folders[1:])
    target = fresh(any_folder())
    if source in subvolumes or target.startswith(source + b"/"):
        return
    os.rename(source, target)
    forget(source)
    survey(target)
    subvolumes.extend(f for f in folders if f.startswith(target + b"/") and os.lstat(f).st_ino == 4096 and f not in subvolumes)


def link():
    path = fresh(any_folder())
    os.link(any_file(), path)
    files.append(path)


def unlink():
    path = any_file()
    os.unlink(path)
    files.remove(path)


def unlink_while_open():
    path = any_file()
    with open(path, "r+b") as f:
        os.unlink(path)
        files.remove(path)
        f.write(data())


def make_folder():
    path = fresh(any_folder())
    os.mkdir(path, 0o755)
    folders.append(path)


def remove_folder():
    path = rnd.choice(folders[1:])
    if path not in subvolumes:
        os.rmdir(path)
        folders.remove(path)


def clone():
    path = fresh(any_folder())
    with open(any_file(), "rb") as source, open(path, "xb") as target:
        files.append(path)
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())


def clone_range():
    with open(any_file(), "rb") as source, open(any_file(), "r+b") as target:
        start, count = offset(source) & ~4095, 4096 * rnd.randrange(1, 60)
        fcntl.ioctl(target.fileno(), FICLONERANGE, struct.pack("<qQQQ", source.fileno(), start, count, offset(target) & ~4095))


def set_attribute():
    path = rnd.choice((any_file, any_folder))()
    os.setxattr(path, b"user.%d" % rnd.randrange(5), rnd.randbytes(rnd.choice((0, 10, 100, 1000))))


def remove_attribute():
    os.removexattr(any_file(), b"user.%d" % rnd.randrange(5))


def set_acl():
    entries = [(1, 7, 0xFFFFFFFF), (2, 6, rnd.randrange(1000)), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)]
    os.setxattr(any_file(), b"system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries))


OPTIONS = {
    "compression": ("none", "lz4", "zstd", "gzip", "zstd:9"), "background_compression": ("none", "lz4", "zstd"),
    "data_checksum": ("none", "crc32c", "crc64", "xxhash"), "data_replicas": ("1", "2"),
}


def set_own_option():
    name = rnd.choice(list(OPTIONS))
    os.setxattr(rnd.choice((any_file, any_folder))(), b"bcachefs." + name.encode(), rnd.choice(OPTIONS[name]).encode())


def set_volume_option():
    name = rnd.choice([n for n in OPTIONS if n != "data_replicas"] + ["metadata_checksum"])
    for path in glob.glob(f"/sys/fs/bcachefs/*/options/{name}"):
        with open(path, "w") as f:
            f.write(rnd.choice(OPTIONS.get(name, ("crc32c", "crc64", "xxhash"))))


def change_inode():
    path = rnd.choice((any_file, any_folder))()
    rnd.choice((
        lambda: os.chmod(path, rnd.choice((0o600, 0o644, 0o755, 0o4711))),
        lambda: os.chown(path, rnd.randrange(2000), rnd.randrange(2000)),
        lambda: os.utime(path, ns=(rnd.randrange(2**62), rnd.randrange(2**60))),
    ))()


def symlink_or_node():
    path = fresh(any_folder())
    if rnd.random() < 0.7:
        os.symlink(rnd.choice(folders + files)[-rnd.randrange(1, 200):], path)
    else:
        os.mknod(path, rnd.choice((0o10600, 0o20600, 0o60600, 0o140600)), os.makedev(rnd.randrange(200), rnd.randrange(200)))


def subvolume_ioctl(request, flags, path, source=None):
    texts = [ctypes.create_string_buffer(p) for p in ((path, source) if source else (path,))]
    argument = struct.pack("<IIH6xQQ", flags, AT_FDCWD, 0o755, ctypes.addressof(texts[0]), ctypes.addressof(texts[1]) if source else 0)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(folder, request, argument)
    finally:
        os.close(folder)


def make_subvolume():
    if len(subvolumes) < SUBVOLUMES_MAX:
        path = fresh(any_folder())
        subvolume_ioctl(SUBVOLUME_CREATE, 0, path)
        subvolumes.append(path)
        folders.append(path)


def snapshot():
    if len(subvolumes) < SUBVOLUMES_MAX:
        source, path = rnd.choice(subvolumes), fresh(root)
        subvolume_ioctl(SUBVOLUME_CREATE, IS_SNAPSHOT | rnd.choice((0, READ_ONLY)), path, source)
        subvolumes.append(path)
        survey(path)


def remove_subvolume():
    path = rnd.choice(subvolumes)
    subvolume_ioctl(SUBVOLUME_DESTROY, 0, path)
    forget(path)


def settle():
    rnd.choice((os.sync, lambda: open("/proc/sys/vm/drop_caches", "w").write("3")))()


WEIGHTS = {
    create: 60, overwrite: 40, append: 20, write_directly: 8, truncate: 12, rename: 20, rename_folder: 2, link: 8, unlink: 16,
    unlink_while_open: 3, make_folder: 8, remove_folder: 3, clone: 10, clone_range: 12, set_attribute: 10, remove_attribute: 3,
    set_acl: 3, set_own_option: 6, set_volume_option: 2, change_inode: 10, symlink_or_node: 6, make_subvolume: 2, snapshot: 3,
    remove_subvolume: 1, settle: 2,
}
for mode in (KEEP_SIZE | PUNCH, 0, KEEP_SIZE, ZERO):
    WEIGHTS[lambda mode=mode: allocate(mode)] = 5
operations, weights = list(WEIGHTS), list(WEIGHTS.values())
# what random operations run into: names that are taken or gone, read-only snapshots, a full volume
EXPECTED = (errno.EEXIST, errno.ENOENT, errno.ENOTEMPTY, errno.EROFS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP,
            errno.ENOSPC, errno.ENODATA, errno.EISDIR, errno.ENOTDIR, errno.EMLINK, errno.ENAMETOOLONG, errno.EBUSY,
            errno.EPERM, errno.EFBIG)

survey(root)
folders.remove(root)
done = refused = 0
end = time.monotonic() + a.seconds
while time.monotonic() < end and done + refused < a.operations:
    try:
        operation = unlink if len(files) > FILES_MAX else rnd.choices(operations, weights)[0]
        operation()
        done += 1
    except OSError as error:
        if error.errno not in EXPECTED:
            raise
        refused += 1
    except IndexError:
        refused += 1  # there is nothing of that kind
print(f"age.py: seed {a.seed}: {done} operations, {refused} refused", file=sys.stderr, flush=True)
if a.cut:
    os.fsync(2)  # the message is the host's; the volume is not synced
    libc.syscall(169, 0xFEE1DEAD, 672274793, 0x4321FEDC, 0)
