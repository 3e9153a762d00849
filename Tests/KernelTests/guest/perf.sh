#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The driver's own benchmark of its btrees: for each of the names in JOB_TESTS a line with the name,
# nanoseconds an operation, and sectors written to the first device meanwhile, all unwritten ones
# included. JOB_COUNT operations, by JOB_THREADS threads together.
set -eu
. "$JOB_GUEST/common.sh"
mount_volume rw /mnt/a
sectors() {
  sync
  awk '{ print $7 }' /sys/block/ubda/stat
}
for name in $JOB_TESTS; do
  before=$(sectors)
  for file in /sys/fs/bcachefs/*/perf_test; do
    echo "$name $JOB_COUNT $JOB_THREADS" >"$file"
  done
  nanoseconds=$(dmesg | sed -n "s/.*$name: .* sec, *\([0-9]*\) nsec per iter.*/\1/p" | tail -n 1)
  echo "$name $nanoseconds $(($(sectors) - before))"
done
umount /mnt/a
