# SPDX-License-Identifier: GPL-2.0
# Job: tells what is in the files that were written before, changes files of a volume, the same in each turn JOB_SEED, and
# unmounts it. Nothing of it makes or deletes subvolumes:
# after that Linux 6.12 finds faults in its own snapshot trees.
set -eu
. "$JOB_GUEST/common.sh"
unlock_if_encrypted
say turn
mount_volume rw /mnt/a
for file in /mnt/a/written*; do
  if [ -f "$file" ]; then
    echo "found $(basename "$file") $(md5sum <"$file" | cut -c1-32)"
  fi
done
folder=/mnt/a/turns/$((JOB_SEED % 3))
rm -rf "$folder"
mkdir -p "$folder"
for name in $(seq 200); do
  echo "$JOB_SEED $name" >"$folder/$name"
done
head -c 1000000 /dev/zero | tr '\0' "$((JOB_SEED % 10))" >"$folder/large"
cp "$folder/large" "$folder/copy"
truncate -s 300000 "$folder/large"
for name in $(seq 1 3 200); do
  mv "$folder/$name" "$folder/moved $name"
done
sync
for name in $(seq 2 3 200); do
  rm "$folder/$name"
done
umount /mnt/a
