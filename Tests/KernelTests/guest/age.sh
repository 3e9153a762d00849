# SPDX-License-Identifier: GPL-2.0
# Job: lets a volume grow old for JOB_SECONDS with the seed JOB_SEED, and unmounts it; with JOB_CUT set the machine loses its
# power instead.
set -eu
. "$JOB_GUEST/common.sh"
unlock_if_encrypted
say age
mount_volume rw /mnt/a
python3 "$JOB_GUEST/age.py" /mnt/a --seed "$JOB_SEED" --seconds "$JOB_SECONDS" ${JOB_CUT:+--cut}
umount /mnt/a
