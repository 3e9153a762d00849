# SPDX-License-Identifier: GPL-2.0
# Job: mounts the volume read-only and unmounts it. The driver replays the journal of an unclean one: it is clean then.
set -eu
. "$JOB_GUEST/common.sh"
unlock_if_encrypted
say recover
mount_volume ro /mnt/a
umount /mnt/a
