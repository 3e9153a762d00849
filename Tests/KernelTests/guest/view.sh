# SPDX-License-Identifier: GPL-2.0
# Job: mounts a clean volume without changing it, and writes into the folder JOB_OUT what the kernel shows of it: every
# btree's keys and formats (keys.NAME, formats.NAME), statfs ("statfs"), and the files of sysfs as "== PATH" and its lines.
set -eu
. "$JOB_GUEST/common.sh"
unlock_if_encrypted
say view
mount_volume ro,norecovery,nochanges /mnt/a
# In one read: where the reader's buffer ends, Linux 6.12 sometimes leaves keys out.
for btree in /sys/kernel/debug/bcachefs/*/btrees/*; do
  dd bs=64M status=none if="$btree/keys" of="$JOB_OUT/keys.${btree##*/}"
  dd bs=64M status=none if="$btree/formats" of="$JOB_OUT/formats.${btree##*/}"
done
stat -f -c '%S %b %f' /mnt/a >"$JOB_OUT/statfs"
cd /sys/fs/bcachefs/*/
for file in options/* counters/* dev-*/* internal/accounting internal/journal_debug; do
  [ -f "$file" ] || continue
  echo "== $file"
  cat "$file" 2>/dev/null || true
done >"$JOB_OUT/sysfs"
cd /
umount /mnt/a
