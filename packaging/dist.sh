#!/usr/bin/env bash
# Build wheel and sdist, check them, install each into an empty environment, mount and read.
# `make dist` calls this with a Python that has build and twine.
set -euo pipefail
python=$(realpath -s "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'fusermount3 -qu "$work/source.mnt" || true; rm -rf -- "$work"' EXIT

rm -f dist/*.whl dist/*.tar.gz # a Debian package there stays
"$python" -m build --outdir dist . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$python" -m twine check --strict dist/*.whl dist/*.tar.gz

mkdir "$work/source"
for package in dist/*.whl dist/*.tar.gz; do
    rm -rf "$work/env"
    "$python" -m venv "$work/env"
    "$work/env/bin/pip" install --quiet "$package"
    "$work/env/bin/python" -c \
        'import sys, h5py; h5py.File(sys.argv[1], "w")["x"] = range(10)' "$work/source/data.h5"
    "$work/env/bin/esrffs" --version >/dev/null
    [ -e /dev/fuse ] || { echo "$package: installed; nothing can be mounted here"; continue; }
    ( # away from the repository, so that what is imported is what was installed
        cd "$work"
        env/bin/esrffs source
        env/bin/python -c 'import numpy; assert numpy.load("source.mnt/data.h5/x.npy").sum() == 45'
        env/bin/esrffs -u source.mnt
        test ! -e source.mnt
    )
    echo "$package: installed, mounted, read"
done
