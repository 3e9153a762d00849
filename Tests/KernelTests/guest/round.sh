# SPDX-License-Identifier: GPL-2.0
# Job: mounts the volume read-write, changes it in every way there is, unmounts, and checks it again.
# Ends with an error when the changed tree reads back otherwise. Prints the changed tree's manifest.
set -eu
. "$JOB_GUEST/common.sh"
unlock_if_encrypted
say round: read-write
mount_volume rw /mnt/a
python3 "$JOB_GUEST/change.py" /mnt/a "${JOB_SEED:-1}"
python3 "$JOB_GUEST/mktree.py" /mnt/a/added-by-linux --tiny --files 40 --age 30 \
  --seed "${JOB_SEED:-1}"
python3 "$JOB_GUEST/subvolume.py" create /mnt/a/subvolume-by-linux
python3 "$JOB_GUEST/mktree.py" /mnt/a/subvolume-by-linux/tree --tiny --files 10
for verb in snapshot snapshot-ro; do
  python3 "$JOB_GUEST/subvolume.py" $verb /mnt/a/subvolume-by-linux "/mnt/a/$verb-by-linux"
done
python3 "$JOB_GUEST/change.py" /mnt/a/snapshot-by-linux "${JOB_SEED:-1}"
sync
write_manifest /mnt/a >/mnt/b/written
umount /mnt/a
say round: check
mount_volume ro,fsck,errors=continue /mnt/a
write_manifest /mnt/a >/mnt/b/read
umount /mnt/a
cat /mnt/b/read
cmp /mnt/b/written /mnt/b/read >&2
