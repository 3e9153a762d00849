#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""mktree.py DIR [--seed N] [--files N] [--age N] [--small | --tiny]

Fills DIR with a reproducible tree that exercises what a filesystem must keep:
inline and large files, sparse and preallocated files, hard links, symlinks,
special files, extended attributes, ACLs, modes, odd timestamps, unicode
and 255-byte names, deep and wide directories. --age then applies N random
overwrites, truncates, renames and unlinks. --small leaves out the files over 128 KiB, --tiny those over 8 KiB. What
cannot be made on the target (a missing privilege, an unsupported xattr) is reported on stderr and skipped.
"""
import argparse, errno, os, random, stat, struct, sys

ap = argparse.ArgumentParser()
ap.add_argument("dir")
ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--files", type=int, default=300)
ap.add_argument("--age", type=int, default=0)
ap.add_argument("--small", action="store_true")
ap.add_argument("--tiny", action="store_true")
a = ap.parse_args()
rnd = random.Random(a.seed)
os.makedirs(a.dir, exist_ok=True)
os.chdir(a.dir)
skipped = []


def attempt(what, fn):
    try:
        return fn()
    except OSError as e:
        skipped.append(f"{what}: {errno.errorcode.get(e.errno, e.errno)}")


def text(n):
    words = [b"extent", b"bucket", b"journal", b"snapshot", b"btree", b"key", b"\n"]
    out = b" ".join(rnd.choice(words) for _ in range(n // 6 + 1))
    return out[:n].ljust(n, b".")


def put(path, data):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


# sizes around every boundary that matters: inline data, sectors, blocks, extents, buckets
for n in (0, 1, 7, 100, 511, 512, 513, 1023, 2048, 4095, 4096, 4097, 8192, 65535, 65536, 65537,
          131072, 262143, 262145, 524288, 1 << 20, (1 << 20) + 3):
    if n > (8192 if a.tiny else 131072 if a.small else n):
        continue
    put(f"sizes/text-{n}", text(n))
    put(f"sizes/random-{n}", rnd.randbytes(n))
if not a.tiny:
    put("big/random", rnd.randbytes(400_000 if a.small else 3 << 20))
    put("big/text", text(1_000_000 if a.small else 3 << 20))

for i in range(a.files):
    put(f"many/d{i % 17:02}/file-{i:05}", rnd.randbytes(rnd.choice([0, 3, 40, 300, 3000, 5000, 20000])))

with open("sparse", "wb") as f:
    for off in (0, 1 << 20, (1 << 30) + 12345, (1 << 40) + 7):
        f.seek(off)
        f.write(rnd.randbytes(5000))
    f.truncate((1 << 40) + 100000)


def prealloc():
    fd = os.open("prealloc", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        os.posix_fallocate(fd, 0, 1 << 20)
        os.pwrite(fd, rnd.randbytes(10000), 300000)
    finally:
        os.close(fd)


attempt("prealloc", prealloc)

put("links/origin", b"three names\n")
for i in range(1, 4):
    attempt("hard link", lambda: os.link("links/origin", f"links/other{i}"))
attempt("symlink", lambda: os.symlink("origin", "links/sym"))
attempt("symlink", lambda: os.symlink("/nowhere/" + "x" * 900, "links/long-sym"))
attempt("symlink", lambda: os.symlink("../links", "links/self"))
for kind, mode in (("fifo", stat.S_IFIFO), ("sock", stat.S_IFSOCK), ("chr", stat.S_IFCHR), ("blk", stat.S_IFBLK)):
    os.makedirs("special", exist_ok=True)
    attempt(kind, lambda: os.mknod(f"special/{kind}", mode | 0o640, os.makedev(7, 3)))

os.makedirs("names", exist_ok=True)
for name in ("plain", "with space", "ünïcødé", "日本語のファイル", "emoji-🗂️", "-dash", "new\nline", "q" * 255, "é" * 127, ".hidden"):
    attempt("name", lambda: put(f"names/{name}", name.encode()))
put("names/latin1", b"")
attempt("raw name", lambda: os.close(os.open(b"names/raw-\xff\xfe", os.O_CREAT | os.O_WRONLY)))

p = "deep"
for i in range(40):
    p += f"/level{i}"
put(p + "/bottom", b"down here\n")

put("attrs/file", b"has attributes\n")
for name, value in (("user.short", b"v"), ("user.empty", b""), ("user.binary", bytes(range(256))),
                    ("user.long", rnd.randbytes(1800)), ("trusted.t", b"root only"), ("security.demo", b"s")):
    attempt(f"xattr {name}", lambda: os.setxattr("attrs/file", name, value))
for i in range(60):
    attempt("xattr many", lambda: os.setxattr("attrs/file", f"user.many{i}", str(i).encode() * (i % 9)))
attempt("xattr dir", lambda: os.setxattr("attrs", "user.dir", b"on a directory"))


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


# tags: 1 owner, 2 user, 4 owning group, 8 group, 16 mask, 32 others
no_id = 0xFFFFFFFF
grant = acl((1, 7, no_id), (2, 4, 1000), (2, 6, 4000000000), (4, 5, no_id), (8, 1, 77), (16, 7, no_id), (32, 0, no_id))
put("acls/file", b"has an access list\n")
attempt("acl", lambda: os.setxattr("acls/file", "system.posix_acl_access", grant))
os.makedirs("acls/inherits", exist_ok=True)
attempt("default acl", lambda: os.setxattr("acls/inherits", "system.posix_acl_default", grant))
put("acls/inherits/child", b"born with a list\n")
os.makedirs("acls/inherits/below", exist_ok=True)

for i, mode in enumerate((0o000, 0o400, 0o755, 0o777, 0o4755, 0o2755, 0o1777)):
    put(f"modes/m{i}", b"mode")
    attempt("chmod", lambda: os.chmod(f"modes/m{i}", mode))
put("modes/owned", b"owner")
attempt("chown", lambda: os.chown("modes/owned", 12345, 4000000000))

for i, ns in enumerate((0, 1, -1_500_000_000_000_000_000 // 1000, 1_700_000_000_123_456_789, 4_102_444_800_999_999_999)):
    put(f"times/t{i}", b"when")
    attempt("utime", lambda: os.utime(f"times/t{i}", ns=(ns, ns)))

if a.age:
    live = [os.path.join(r, f) for r, _, fs in os.walk("many") for f in fs]
    live.sort()
    for i in range(a.age):
        op = rnd.randrange(8)
        if op == 0 or len(live) < 20:
            path = f"many/aged{rnd.randrange(40):02}/n{i}"
            put(path, rnd.randbytes(rnd.randrange(40000)))
            live.append(path)
        elif op == 1:
            os.unlink(live.pop(rnd.randrange(len(live))))
        elif op == 2:
            k = rnd.randrange(len(live))
            new = f"many/aged{rnd.randrange(40):02}/r{i}"
            os.makedirs(os.path.dirname(new), exist_ok=True)
            os.rename(live[k], new)
            live[k] = new
        elif op == 3:
            os.truncate(rnd.choice(live), rnd.randrange(60000))
        else:
            with open(rnd.choice(live), "r+b") as f:
                f.seek(rnd.randrange(80000))
                f.write(rnd.randbytes(rnd.randrange(1, 9000)))

for line in sorted(set(skipped)):
    print("skipped", line, file=sys.stderr)
