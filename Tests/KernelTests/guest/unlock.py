#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""unlock.py DEVICE: gives the kernel the key to an encrypted volume, from the passphrase in JOB_PASSPHRASE.

The driver asks the keyring for a key of type "user" named bcachefs:UUID (the volume's external UUID); its payload is the
32 bytes that scrypt makes of the passphrase, with the parameters in the superblock's crypt section and the salt "bcache\\0".
"""
import ctypes, hashlib, os, struct, sys, uuid

CRYPT_SECTION = 2
KEY_SPEC_USER_KEYRING = -4
ADD_KEY = 248  # the system call's number on x86-64

with open(sys.argv[1], "rb") as f:
    f.seek(4096)
    head = f.read(752)
    sections = f.read(struct.unpack_from("<I", head, 124)[0] * 8)
name = f"bcachefs:{uuid.UUID(bytes=head[56:72])}"

at = 0
while at + 8 <= len(sections):
    u64s, kind = struct.unpack_from("<II", sections, at)
    if kind == CRYPT_SECTION:
        break
    if u64s == 0:
        sys.exit("unlock: a superblock section without a size")
    at += u64s * 8
else:
    sys.exit("unlock: the volume is not encrypted")

n, r, p = struct.unpack_from("<HHH", sections, at + 16)
key = hashlib.scrypt(os.environb[b"JOB_PASSPHRASE"], salt=b"bcache\0", n=1 << n, r=1 << r, p=1 << p,
                     maxmem=(256 << n + r) + (1 << 20), dklen=32)
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(ADD_KEY, b"user", name.encode(), key, len(key), KEY_SPEC_USER_KEYRING) < 0:
    sys.exit(f"unlock: add_key: {os.strerror(ctypes.get_errno())}")
