# SPDX-License-Identifier: GPL-2.0
"""fiemap.py DIR: where the driver says that every regular file is: path, first byte, length, byte
of the device, and what is so about it. One line a copy."""
import fcntl
import os
import stat
import struct
import sys

FS_IOC_FIEMAP = 0xC020660B
FLAGS = {0x8: "encoded", 0x200: "inline", 0x800: "unwritten", 0x2000: "shared"}
COUNT = 4000

top = sys.argv[1]
for parent, directories, files in os.walk(top):
    for name in files:
        path = os.path.join(parent, name)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            continue
        request = bytearray(struct.pack("=QQIIII", 0, 2**62, 0, 0, COUNT, 0) + bytes(56 * COUNT))
        fd = os.open(path, os.O_RDONLY)
        fcntl.ioctl(fd, FS_IOC_FIEMAP, request)
        os.close(fd)
        mapped = struct.unpack_from("=I", request, 20)[0]
        assert mapped < COUNT
        for index in range(mapped):
            logical, physical, length = struct.unpack_from("=QQQ", request, 32 + 56 * index)
            flags = struct.unpack_from("=I", request, 32 + 56 * index + 40)[0]
            words = [word for bit, word in FLAGS.items() if flags & bit]
            shown = os.path.relpath(path, top).replace("\n", "\\n")
            print(shown, logical, length, physical, ",".join(words) or "-",
                  sep="\t")
