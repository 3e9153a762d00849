# SPDX-License-Identifier: GPL-2.0
# Job: mounts the volume read-only, which recovers it, and prints its manifest. Without fsck: what a volume that Linux itself
# has changed at length makes it say is Linux's.
set -eu
. "$JOB_GUEST/common.sh"
unlock_if_encrypted
say manifest
mount_volume ro /mnt/a
write_manifest --past-errors /mnt/a
umount /mnt/a
