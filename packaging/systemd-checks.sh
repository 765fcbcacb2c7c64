#!/usr/bin/env bash
# The checks that packaging/systemd-check.sh runs in the container, after boot.
set -eEuo pipefail
trap 'echo "failed: line $LINENO: $BASH_COMMAND"; systemctl --no-pager --failed; journalctl -b --no-pager | grep -E "esrffs|mount" | tail -n 30' ERR
say() { echo "$(date +%T) $*"; }
until_() { for _ in $(seq 150); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.2; done; echo "still not: $*"; return 1; }
not() { if "$@" 2>/dev/null; then echo "but it did: $*"; return 1; fi; }
pid() { systemctl show --value --property MainPID "$1"; }

mkdir -p /data/visitor /mnt/visitor
/usr/bin/python3 -c 'if True:
    import sys; sys.path.insert(0, "/usr/lib/esrffs")
    import h5py
    with h5py.File("/data/visitor/data.h5", "w") as file:
        file.create_dataset("x", data=range(1000), chunks=(100,), compression="gzip")'
read_() { test "$(tail -c 8 "$1/data.h5/x.npy" | od -A n -t d8 | tr -d ' ')" = 999; }

say "as docs/fstab.md says"
cp /visitor.conf /etc/esrffs/
test "$(wc -l </commands)" -ge 5
bash -ex /commands
not mountpoint -q /mnt/visitor

say "a service"
test -d /etc/esrffs -a -d /run/esrffs
printf 'SOURCE=/data/visitor\nOPTIONS=allow_other,cache_size=64\n' >/etc/esrffs/here.conf
systemctl start esrffs@here # returns when the mount answers
read_ /run/esrffs/here
systemctl show --property StatusText esrffs@here
systemd-analyze verify --man=no /usr/lib/systemd/system/esrffs@.service /usr/lib/systemd/user/esrffs@.service
systemd-analyze security --no-pager --threshold=30 esrffs@here | tail -n 1
journalctl -u esrffs@here -p info --no-pager -o cat | grep -q "mounted /data/visitor on /run/esrffs/here"
su -s /bin/sh -c 'ls /run/esrffs/here/data.h5' nobody

say "debugging by a signal"
systemctl kill --kill-whom=main -s USR1 esrffs@here
until_ sh -c 'journalctl -u esrffs@here --no-pager -o cat | grep "debugging is on"'

say "its daemon is killed: it is mounted again"
old=$(pid esrffs@here)
systemctl kill --kill-whom=main -s KILL esrffs@here
until_ sh -c "test \$(systemctl show --value --property MainPID esrffs@here) != $old"
until_ systemctl is-active esrffs@here
read_ /run/esrffs/here

say "its daemon hangs: the watchdog ends it, and it is mounted again"
mkdir -p /run/systemd/system/esrffs@here.service.d
printf '[Service]\nWatchdogSec=3\n' >/run/systemd/system/esrffs@here.service.d/short.conf
systemctl daemon-reload
systemctl restart esrffs@here
sleep 5 # longer than WatchdogSec, to see that a daemon that works is not ended
old=$(pid esrffs@here)
test "$(systemctl show --value --property NRestarts esrffs@here)" = 0
kill -STOP "$old"
until_ sh -c "test \$(systemctl show --value --property MainPID esrffs@here) != $old"
until_ systemctl is-active esrffs@here
read_ /run/esrffs/here
systemctl stop esrffs@here
not mountpoint -q /run/esrffs/here
test "$(systemctl show --value --property Result esrffs@here)" = success

say "no such source"
printf 'SOURCE=/data/nowhere\n' >/etc/esrffs/wrong.conf
not systemctl start esrffs@wrong 2>/dev/null
systemctl stop esrffs@wrong
journalctl -u esrffs@wrong --no-pager -o cat | grep -q "there is no such file or folder"

say "the example of a mount unit"
systemctl start mnt-visitor.mount
read_ /mnt/visitor
systemctl stop mnt-visitor.mount
not mountpoint -q /mnt/visitor

if test -e /dev/autofs; then # not in containers
    say "an automount, gone when idle"
    mkdir -p /run/systemd/system/mnt-visitor.automount.d
    printf '[Automount]\nTimeoutIdleSec=2\n' >/run/systemd/system/mnt-visitor.automount.d/short.conf
    systemctl daemon-reload
    systemctl start mnt-visitor.automount
    not grep -q " /mnt/visitor fuse.esrffs" /proc/mounts
    read_ /mnt/visitor
    until_ sh -c '! grep -q " /mnt/visitor fuse.esrffs" /proc/mounts'
    read_ /mnt/visitor
    systemctl stop mnt-visitor.automount
fi

say "fstab"
mkdir -p /mnt/a /mnt/b
cat >/etc/fstab <<'FSTAB'
/data/visitor /mnt/a esrffs noauto,allow_other,nofail,_netdev,x-systemd.idle-timeout=10min 0 0
/data/visitor /mnt/b fuse.esrffs defaults,ro,user,comment=ours,nofail 0 0
FSTAB
systemctl daemon-reload
systemctl start mnt-a.mount mnt-b.mount
read_ /mnt/a
read_ /mnt/b
umount /mnt/b
systemctl stop mnt-a.mount
mount /mnt/a
read_ /mnt/a
umount /mnt/a

say "a user's own"
useradd -m ann
home=$(getent passwd ann | cut -d: -f6)
install -d -o ann "$home/.config" "$home/.config/esrffs"
echo SOURCE=/data/visitor >"$home"/.config/esrffs/mine.conf
loginctl enable-linger ann
until_ test -S "/run/user/$(id -u ann)/systemd/private"
as_ann() { setpriv --reuid=ann --regid=ann --init-groups env HOME="$home" XDG_RUNTIME_DIR="/run/user/$(id -u ann)" "$@"; }
as_ann systemctl --user start esrffs@mine
as_ann ls "/run/user/$(id -u ann)/esrffs/mine/data.h5"
not ls "/run/user/$(id -u ann)/esrffs/mine" 2>/dev/null
as_ann systemctl --user stop esrffs@mine
not grep -q "/esrffs/mine fuse" /proc/mounts

say "read-ahead of a user's mount, by udev"
read_ahead() { cat "/sys/class/bdi/$(awk -v path="$1" '$5 == path { print $3 }' /proc/self/mountinfo)/read_ahead_kb"; }
mount -o remount,rw /sys # in containers it is read-only, and udev does not start
mount -o remount,rw /sys/devices
systemctl start systemd-udevd
install -d -o ann "$home/source" "$home/mnt"
as_ann esrffs "$home/source" "$home/mnt"
raised() { test "$(read_ahead "$home/mnt")" = 1024; }
until_ raised
as_ann esrffs -u "$home/mnt"
mkdir -p /mnt/c
esrffs -o read_ahead=256 /data/visitor /mnt/c # root's: as it was asked for
sleep 4
test "$(read_ahead /mnt/c)" = 256
esrffs -u /mnt/c

say "purged"
dpkg --purge esrffs >/dev/null
not test -e /usr/lib/esrffs
echo "all is well"
