#!/usr/bin/env bash
# Boot a Debian system with systemd in a container, install a Debian package in it, and run the units:
# packaging/systemd-check.sh PACKAGE SYSTEM, as root, with systemd-container.  SYSTEM is the root folder of
# the Debian system, made by packaging/deb-check.sh; this script changes it.
set -euo pipefail
package=$(realpath "$1")
system=$(realpath "$2")
cp "$package" "$system/esrffs.deb"
chroot "$system" env DEBIAN_FRONTEND=noninteractive dpkg --install /esrffs.deb >/dev/null
cp "$(dirname "$0")/systemd-checks.sh" "$system/checks"
block() { awk -v kind="\`\`\`$1" -v wanted="$2" '$0 == kind { n++; p = n == wanted; next } /^```/ { p = 0 } p' "$3"; }
page=$(dirname "$0")/../docs/fstab.md
block ini 1 "$page" >"$system/visitor.conf" # the configuration and the commands exactly as the page shows them
block sh 2 "$page" >"$system/commands"
cp "$(dirname "$0")"/../systemd/examples/mnt-visitor.* "$system/etc/systemd/system/"
cat >"$system/etc/systemd/system/checks.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /checks
StandardOutput=file:/told
StandardError=file:/told
ExecStopPost=/usr/bin/systemctl --no-block poweroff --force
[Install]
WantedBy=default.target
UNIT
chroot "$system" systemctl --quiet enable checks.service

mknod -m 666 "$system.fuse" c 10 229 # the mode that udev gives the device
# The checks start udev in there.  It must not touch the devices of this machine: it has only our rule.
find "$system/usr/lib/udev/rules.d" -name '*.rules' ! -name '99-esrffs.rules' -delete
ln -s /dev/null "$system/etc/systemd/system/systemd-udev-trigger.service"
timeout 300 systemd-nspawn --boot --quiet --directory="$system" --register=no --keep-unit \
    --private-network --bind="$system.fuse:/dev/fuse" </dev/null >"$system.console" 2>&1 || true
cat "$system/told" || tail "$system.console"
tail -n 1 "$system/told" | grep -qx "all is well"
