#!/usr/bin/env bash
# Check the Debian package on one Debian release, in three fresh roots: make the package in the first;
# in the second install it, mount, read, purge it, and look that no file is left; in the third boot
# systemd and run the units.
# packaging/deb-check.sh SUITE [MIRROR], as root, with debootstrap and systemd-container.
set -euo pipefail
suite=$1
mirror=${2:-}
cd "$(dirname "$0")/.."
fail() { printf 'deb-check: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "debootstrap and chroot need root: sudo make debcheck"
for program in debootstrap systemd-nspawn; do
    command -v $program >/dev/null || fail "please install debootstrap and systemd-container"
done

work=$(mktemp -d)
end() {
    for system in "$work"/*/; do
        umount -ql "$system"tmp/source.mnt "$system"tmp/mnt "$system"dev/fuse "$system"proc || true
    done 2>/dev/null
    rm -rf --one-file-system -- "$work"
}
trap end EXIT
say() { echo "$suite: $*"; }

fresh() { # make the root NAME, a copy of the base system
    cp -a "$work/base" "$work/$1"
    mount -t proc proc "$work/$1/proc"
    touch "$work/$1/dev/fuse"
    mount --bind /dev/fuse "$work/$1/dev/fuse"
}
pip=()
for name in ${!PIP_@}; do pip+=("$name=${!name}"); done
[ -z "${PIP_CERT:-}" ] || pip+=(PIP_CERT=/certificates.pem) # copied there
inside() { # run a command in a root: inside NAME COMMAND…
    local system=$work/$1
    shift
    chroot "$system" env -i PATH=/usr/sbin:/usr/bin HOME=/root DEBIAN_FRONTEND=noninteractive "${pip[@]}" "$@"
}
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }; }
files() { (cd "$work/$1" && find usr etc lib ! -name '*.pyc' | sort); }

say "a fresh root"
quietly debootstrap --variant=minbase "$suite" "$work/base" ${mirror:+"$mirror"}
cp -r /etc/apt/apt.conf.d "$work/base/etc/apt/" # the proxy, for example
cp -L /etc/resolv.conf "$work/base/etc/"
inside base apt-get -qq update

say "make deb"
fresh build
[ -z "${PIP_CERT:-}" ] || cp -L "$PIP_CERT" "$work/build/certificates.pem"
mkdir "$work/build/clone"
tar -c --exclude='./.venv*' --exclude=./.git --exclude=./dist --exclude=./build . |
    tar -x --no-same-owner -C "$work/build/clone"
quietly inside build apt-get -qq -y install --no-install-recommends make
quietly inside build make -C /clone deb
package=$(echo "$work"/build/clone/dist/esrffs_*.deb)
say "$(dpkg-deb --field "$package" Depends)"

say "installed, mounted, purged"
fresh check
cp "$package" "$work/check/tmp/esrffs.deb"
quietly inside check apt-get -qq -y install fuse3 mount libstdc++6 python3
files check >"$work/before"
quietly inside check apt-get -qq -y install /tmp/esrffs.deb
inside check esrffs --version
inside check /usr/bin/python3 -c 'if True:
    import sys; sys.path.insert(0, "/usr/lib/esrffs")
    import esrffs.flatfield._kernel
    import h5py, os; os.mkdir("/tmp/source"); h5py.File("/tmp/source/data.h5", "w")["x"] = range(10)'
inside check sh -c 'cd /tmp && esrffs source && ls source.mnt/data.h5 && esrffs -u source.mnt'
inside check sh -c 'cd /tmp && mkdir mnt && mount -t esrffs source mnt && ls mnt/data.h5 && umount mnt'
quietly inside check apt-get -qq -y purge esrffs
files check >"$work/after"
diff "$work/before" "$work/after"

say "its units"
cp -a "$work/base" "$work/units"
quietly inside units apt-get -qq -y install systemd systemd-sysv dbus dbus-user-session \
    libpam-systemd udev fuse3 mount python3 libstdc++6
packaging/systemd-check.sh "$package" "$work/units"
say "all is well"
