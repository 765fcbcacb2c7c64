#!/usr/bin/env bash
# Make a Debian package in dist/ that contains all Python libraries: packaging/deb.sh.
# The package is for the Debian release on which it is made, because pyfuse3 is compiled for the Python
# and the libfuse3 of that release.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
root=$work/root
library=/usr/lib/esrffs
/usr/bin/python3 -m venv "$work/environment" # only for its pip; the package uses /usr/bin/python3
python=$work/environment/bin/python

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
minor=$("$python" -c 'import sys; print(sys.version_info[1])')
architecture=$(dpkg --print-architecture)

mkdir "$work/source"
packaging/copy.sh "$work/source"
echo "esrffs and its libraries, for $("$python" --version) (120 MB to fetch; a minute)"
.ci/pip-install "$python" --no-compile --target "$root$library" "$work/source"
rm -rf "$root$library/bin" # programs of the libraries
ls "$root$library"/esrffs/flatfield/_kernel*.so >/dev/null # the C code was compiled
# compile all modules now, so that imports write nothing below /usr
"$python" -m compileall -q -s "$root" -p / "$root$library" || true # some libraries contain templates that are no Python

launcher() { # print a program that runs a function of esrffs.cli.main with the libraries of the package
    cat <<PY
#!/usr/bin/python3 -sP
import sys

sys.path.insert(0, "$library")

if __name__ == "__main__":
    from esrffs.cli.main import $1

    sys.exit($1())
PY
}
make --no-print-directory --silent install-files PREFIX="$root/usr" SBIN="$root/usr/sbin" \
    LIB="$library" SHOWN=/usr
rm "$root/usr/bin/esrffs" "$root/usr/sbin/mount.esrffs"
launcher main >"$root/usr/bin/esrffs"
launcher mount_helper >"$root/usr/sbin/mount.esrffs"
chmod 755 "$root/usr/bin/esrffs" "$root/usr/sbin/mount.esrffs"
gzip -n9 "$root"/usr/share/man/man?/*
install -Dm 644 LICENSE "$root/usr/share/doc/esrffs/copyright"

libfuse=$(packaging/libfuse.sh "$root$library")
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: esrffs
Version: $version
Architecture: $architecture
Maintainer: esrffs <esrffs@localhost>
Section: science
Priority: optional
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: python3 (>= 3.$minor), python3 (<< 3.$((minor + 1))), fuse3, $libfuse, libstdc++6
Description: Spec, EDF and HDF5 files as directories of arrays
 Mounts a folder of beamline data read-only: every HDF5, Spec or EDF file is a
 directory, every dataset in it an .npy file, all attributes JSON.
CONTROL
cat >"$root/DEBIAN/postrm" <<'POSTRM'
#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rmdir /etc/esrffs /run/esrffs 2>/dev/null || true
fi
POSTRM
chmod 755 "$root/DEBIAN/postrm"

package=dist/esrffs_${version}_$architecture.deb
mkdir -p dist
echo "packing"
dpkg-deb --root-owner-group -Zzstd --build "$root" "$package" >/dev/null
[ "$(id -u)" != 0 ] || chown --reference=. dist "$package" # root leaves no files of its own in a user's clone
echo "$package"
