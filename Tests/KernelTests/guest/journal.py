#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""journal.py IMAGE...: every journal entry that stands on the devices, decoded from the layout alone: looked for at each
sector, whether it still counts or not; checksums are not looked at. A line an entry, "entry DEVICE SECTOR SEQ LAST_SEQ FLUSH
BYTES"; then a line for each log message and key within, as the kernel prints them, without values ("message" for one that
does not begin a transaction), and the names of usage, clock and datetime parts. Nothing of encrypted ones."""
import struct, sys

KEY_PARTS = {0: "btree_keys", 1: "btree_root", 10: "overwrite", 11: "write_buffer_keys"}
OTHER_PARTS = {5: "usage", 7: "clock", 12: "datetime"}
LOG = 9
BTREES = """extents inodes dirents xattrs alloc quotas stripes reflink subvolumes snapshots lru freespace need_discard
    backpointers bucket_gens snapshot_trees deleted_inodes logged_ops rebalance_work subvolume_children accounting""".split()
TYPES = """deleted whiteout error cookie hash_whiteout btree_ptr extent reservation inode inode_generation dirent xattr alloc
    quota stripe reflink_p reflink_v inline_data btree_ptr_v2 indirect_inline_data alloc_v2 subvolume snapshot inode_v2
    alloc_v3 set lru alloc_v4 backpointer inode_v3 bucket_gens snapshot_tree logged_op_truncate logged_op_finsert
    accounting""".split()
U64_MAX, U32_MAX = 2**64 - 1, 2**32 - 1


def position(inode, offset, snapshot):
    names = {(0, 0, 0): "POS_MIN", (U64_MAX, U64_MAX, 0): "POS_MAX", (U64_MAX, U64_MAX, U32_MAX): "SPOS_MAX"}
    if (inode, offset, snapshot) in names:
        return names[inode, offset, snapshot]
    wide = [("U64_MAX" if n == U64_MAX else str(n)) for n in (inode, offset)]
    return ":".join(wide + ["U32_MAX" if snapshot == U32_MAX else str(snapshot)])


def lines(data):
    at = 0
    while at < len(data):
        u64s, btree, level, kind = struct.unpack_from("<HBBB", data, at)
        body = data[at + 8 : at + 8 + u64s * 8]
        if len(body) < u64s * 8:
            raise ValueError("a part runs over the end")
        at += 8 + u64s * 8
        if kind == LOG:
            yield ("log: " if level == 0 else "message: ") + body.split(b"\0")[0].decode()
        elif kind in OTHER_PARTS:
            yield OTHER_PARTS[kind]
        key = 0
        while kind in KEY_PARTS and key < len(body):
            words, _, type = struct.unpack_from("<BBB", body, key)
            version, _, size, snapshot, offset, inode = struct.unpack_from("<QIIIQQ", body, key + 4)
            if words == 0:
                raise ValueError("a key without a size")
            yield (f"{KEY_PARTS[kind]}: btree={BTREES[btree]} l={level} u64s {words} type {TYPES[type]} "
                   f"{position(inode, offset, snapshot)} len {size} ver {version}")
            key += words * 8


for device, path in enumerate(sys.argv[1:]):
    with open(path, "rb") as f:
        image = f.read()
    magic = struct.pack("<Q", struct.unpack_from("<Q", image, 4096 + 40)[0] ^ 0x245235C1A3625032)
    at = image.find(magic)
    while at >= 0:
        start = at - 16
        if start % 512 == 0:
            seq, version, flags, u64s = struct.unpack_from("<QIII", image, start + 24)
            (last_seq,) = struct.unpack_from("<Q", image, start + 48)
            try:
                within = [f"entry {device} {start // 512} {seq} {last_seq} {0 if flags & 0x20 else 1} {56 + u64s * 8}"]
                within += lines(image[start + 56 : start + 56 + u64s * 8])
                print("\n".join(within))
            except (ValueError, IndexError, struct.error):
                pass  # the rest of one that was overwritten, or an encrypted one
        at = image.find(magic, at + 1)
