# SPDX-License-Identifier: GPL-2.0
# Shared by the jobs; sourced with `set -eu` on.

# unlock_if_encrypted: JOB_PASSPHRASE is the volume's, where it has one
unlock_if_encrypted() {
  [ -z "${JOB_PASSPHRASE:-}" ] || python3 "$JOB_GUEST/unlock.py" "${JOB_DEVICES%%:*}"
}

# mount_volume OPTIONS DIR
mount_volume() {
  mount -t bcachefs -o "$1" "$JOB_DEVICES" "$2"
}

# say TEXT: a line in the kernel's messages, so that the reader knows what came after it
say() {
  echo "job: $*" >/dev/kmsg
}

# write_manifest [OPTION...] DIR: the manifest of a tree, on standard output
write_manifest() {
  python3 "$JOB_GUEST/manifest.py" "$@"
}
