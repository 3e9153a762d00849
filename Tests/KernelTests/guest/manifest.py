#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""manifest.py DIR [--no-times] [--no-ids] [--past-errors]: one line a path, sorted, of all that a reader must reproduce.

Tab separated: escaped path, type, mode, link count, uid, gid, size, mtime in ns, rdev, content, xattrs.
'content' is the sha256 of a regular file's bytes (holes read as zeros), a symlink's target, or '-'. A file over 64 MiB
shows 'segs:' + the sha256 over its non-zero 4 KiB blocks, each preceded by its offset as 8 little-endian bytes, found by
SEEK_DATA and SEEK_HOLE: the same however holes are stored.
'xattrs' is name=hex pairs in name order. Directories show size '-', because systems count them differently.
"""
import argparse, errno, hashlib, os, stat, sys

ap = argparse.ArgumentParser()
ap.add_argument("dir")
ap.add_argument("--no-times", action="store_true")
ap.add_argument("--no-ids", action="store_true", help="leave uid and gid out")
ap.add_argument("--skip", action="append", default=["lost+found"], help="top-level names to leave out")
ap.add_argument("--past-errors", action="store_true", help="content is 'unreadable' where reading fails with EIO")
a = ap.parse_args()
root = os.fsencode(a.dir)


def esc(b):
    return "".join(chr(c) if 33 <= c < 127 and c != 92 else f"\\x{c:02x}" for c in b)


def content(path, st):
    if stat.S_ISLNK(st.st_mode):
        return esc(os.readlink(path))
    if not stat.S_ISREG(st.st_mode):
        return "-"
    h = hashlib.sha256()
    with open(path, "rb") as f:
        if st.st_size <= 64 << 20:
            while b := f.read(1 << 20):
                h.update(b)
            return h.hexdigest()
        # non-zero 4 KiB blocks with their offsets: independent of how holes are stored
        fd, pos = f.fileno(), 0
        while pos < st.st_size:
            try:
                pos = os.lseek(fd, pos, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(fd, pos, os.SEEK_HOLE)
            pos -= pos % 4096
            while pos < end:
                b = os.pread(fd, 4096, pos)
                if b.strip(b"\0"):
                    h.update(pos.to_bytes(8, "little") + b)
                pos += 4096
        return "segs:" + h.hexdigest()


def content_or_error(path, st):
    try:
        return content(path, st)
    except OSError as e:
        if not a.past_errors or e.errno != errno.EIO:
            raise
        return "unreadable"


rows = []
for top, dirs, files in os.walk(root):
    if top == root:
        dirs[:] = [d for d in dirs if os.fsdecode(d) not in a.skip]
    for name in dirs + files:
        path = os.path.join(top, name)
        st = os.lstat(path)
        kind = stat.filemode(st.st_mode)[0]
        try:
            names = sorted(os.listxattr(path, follow_symlinks=False))
            xattrs = ",".join(f"{esc(os.fsencode(n))}={os.getxattr(path, n, follow_symlinks=False).hex()}"
                              for n in names if not n.startswith(("bcachefs", "system.bcachefs")))
        except OSError:
            xattrs = ""
        rows.append("\t".join([
            esc(os.path.relpath(path, root)), kind, f"{stat.S_IMODE(st.st_mode):04o}", str(st.st_nlink),
            *(["-", "-"] if a.no_ids else [str(st.st_uid), str(st.st_gid)]),
            "-" if kind == "d" else str(st.st_size),
            "-" if a.no_times or kind == "d" else str(st.st_mtime_ns),
            f"{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}" if kind in "bc" else "-",
            content_or_error(path, st), xattrs or "-"]))
print("\n".join(sorted(rows)))
