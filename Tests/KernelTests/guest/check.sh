# SPDX-License-Identifier: GPL-2.0
# Job: mounts the volume read-only with fsck and prints its manifest; what fsck found is in the
# kernel's messages. The driver recovers, so the images change: give it copies.
set -eu
. "$JOB_GUEST/common.sh"
unlock_if_encrypted
say check
mount_volume "ro,fsck,errors=continue${JOB_OPTIONS:+,$JOB_OPTIONS}" /mnt/a
write_manifest "/mnt/a/${JOB_SUBFOLDER:-}"
umount /mnt/a
