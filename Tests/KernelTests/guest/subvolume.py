#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""subvolume.py create PATH | snapshot SOURCE PATH | snapshot-ro SOURCE PATH | delete PATH: the driver's ioctls."""
import ctypes, fcntl, os, struct, sys

CREATE, DESTROY = 0x4020BC10, 0x4020BC11
IS_SNAPSHOT, READ_ONLY = 1, 2
AT_FDCWD = 0xFFFFFF9C

verb, paths = sys.argv[1], [os.fsencode(p) for p in sys.argv[2:]]
flags = {"create": 0, "delete": 0, "snapshot": IS_SNAPSHOT, "snapshot-ro": IS_SNAPSHOT | READ_ONLY}[verb]
texts = [ctypes.create_string_buffer(p) for p in paths]
source = ctypes.addressof(texts[0]) if len(texts) > 1 else 0
argument = struct.pack("<IIH6xQQ", flags, AT_FDCWD, 0o755, ctypes.addressof(texts[-1]), source)
folder = os.open(os.path.dirname(paths[-1]) or b".", os.O_RDONLY | os.O_DIRECTORY)
fcntl.ioctl(folder, DESTROY if verb == "delete" else CREATE, argument)
