#!/usr/bin/env bash
# Install a Debian package in a fresh Debian 12, mount and read there, purge: nothing is left.
# packaging/deb-check.sh PACKAGE [MIRROR], as root, with debootstrap.
set -euo pipefail
package=$(realpath "$1")
work=$(mktemp -d)
end() {
    umount -ql "$work/system/tmp/source.mnt" "$work/system/dev/fuse" "$work/system/proc" || true
    rm -rf --one-file-system -- "$work"
}
trap end EXIT
debootstrap --variant=minbase bookworm "$work/system" ${2:+"$2"} >"$work/log" || { tail "$work/log"; exit 1; }
cp "$package" "$work/system/tmp/esrffs.deb"
for list in /etc/apt/sources.list /etc/apt/apt.conf.d /etc/resolv.conf; do
    [ ! -e $list ] || [ -n "${2:-}" ] || cp -rL $list "$work/system$(dirname $list)/"
done
mount -t proc proc "$work/system/proc"
touch "$work/system/dev/fuse"
mount --bind /dev/fuse "$work/system/dev/fuse"
inside() { chroot "$work/system" env -i PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive "$@"; }
files() { (cd "$work/system" && find usr etc lib ! -name '*.pyc' | sort); }

inside apt-get -qq update
inside apt-get -qq -y install fuse3 mount libstdc++6 python3 >/dev/null 2>&1
files >"$work/before"
inside apt-get -qq -y install /tmp/esrffs.deb >/dev/null
inside esrffs --version
inside /usr/bin/python3 -c 'if True:
    import sys; sys.path.insert(0, "/usr/lib/esrffs")
    import h5py, os; os.mkdir("/tmp/source"); h5py.File("/tmp/source/data.h5", "w")["x"] = range(10)'
inside sh -c 'cd /tmp && esrffs source && ls source.mnt/data.h5 && esrffs -u source.mnt'
inside sh -c 'cd /tmp && mkdir mnt && mount -t esrffs source mnt && ls mnt/data.h5 && umount mnt'
inside apt-get -qq -y purge esrffs >/dev/null
files >"$work/after"
diff "$work/before" "$work/after"
echo "$1: installed, mounted, purged"
