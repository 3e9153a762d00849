# SPDX-License-Identifier: GPL-2.0
"""options.py DIR [set]: prints every attribute of every file that shows an option, one a line:
path, name, value. With `set` it first makes files whose options differ in all the ways there are."""
import os
import sys

top = sys.argv[1]


def make():
    own = {"compression": "zstd:3", "background_compression": "lz4", "data_checksum": "xxhash",
           "data_replicas": "1", "promote_target": "/dev/ubda", "erasure_code": "0"}
    for name, value in own.items():
        directory = os.path.join(top, "options", name)
        os.makedirs(directory + "/below")
        os.setxattr(directory, "bcachefs." + name, value.encode())
        os.makedirs(directory + "/later")
        with open(directory + "/later/file", "w") as f:
            f.write(name)
    directory = os.path.join(top, "options", "nocow")
    os.makedirs(directory)
    os.setxattr(directory, "bcachefs.nocow", b"1")
    # One set over an inherited one, one taken back, one on a file itself.
    file = os.path.join(top, "options", "compression", "later", "file")
    os.setxattr(file, "bcachefs.compression", b"none")
    again = os.path.join(top, "options", "data_checksum", "later")
    os.setxattr(again, "bcachefs.data_checksum", b"crc64")
    os.removexattr(again, "bcachefs.data_checksum")
    os.setxattr(os.path.join(top, "options"), "user.other", b"of no interest")


if len(sys.argv) > 2:
    make()
for parent, directories, files in os.walk(top):
    for name in directories + files:
        path = os.path.join(parent, name)
        for attribute in os.listxattr(path, follow_symlinks=False):
            if attribute.startswith("bcachefs"):
                value = os.getxattr(path, attribute, follow_symlinks=False)
                shown = os.path.relpath(path, top).replace("\n", "\\n")
                print(shown, attribute, value.decode(), sep="\t")
