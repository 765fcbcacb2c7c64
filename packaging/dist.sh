#!/usr/bin/env bash
# Build wheel and sdist, and check them: each is installed into an empty environment, mounts a folder
# and reads from it.  The C kernel must be in both, and esrffs must install without a compiler, too.
# `make dist` runs this with a Python that has build and twine: packaging/dist.sh PYTHON.
set -euo pipefail
python=$(realpath -s "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'fusermount3 -qu "$work/source.mnt" || true; rm -rf -- "$work"' EXIT
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }

rm -f dist/*.whl dist/*.tar.gz # a Debian package there stays
packaging/copy.sh "$work/clone"
quietly "$python" -m build --outdir dist "$work/clone"
"$python" -m twine check --strict dist/*.whl dist/*.tar.gz

mkdir "$work/source"
for package in dist/*.whl dist/*.tar.gz; do
    rm -rf "$work/env"
    "$python" -m venv "$work/env"
    "$work/env/bin/pip" install --quiet "$package"
    "$work/env/bin/python" -c \
        'import sys, h5py; h5py.File(sys.argv[1], "w")["x"] = range(10)' "$work/source/data.h5"
    "$work/env/bin/esrffs" --version >/dev/null
    "$work/env/bin/python" -c 'import esrffs.flatfield._kernel'
    [ -e /dev/fuse ] || { echo "$package: installed; nothing can be mounted here"; continue; }
    ( # not in the repository, so that Python imports what was installed
        cd "$work"
        env/bin/esrffs source
        env/bin/python -c 'import numpy; assert numpy.load("source.mnt/data.h5/x.npy").sum() == 45'
        env/bin/esrffs -u source.mnt
        test ! -e source.mnt
    )
    echo "$package: installed, mounted, read"
done

CC=false quietly "$work/env/bin/pip" install --no-deps --force-reinstall --no-cache-dir dist/*.tar.gz
(cd "$work" && env/bin/python -c '
from esrffs.flatfield import formula
assert formula.correct_in_c is None')
echo "dist/*.tar.gz: installed without a compiler"
