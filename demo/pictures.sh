#!/usr/bin/env bash
# The pictures of the README: demo/pictures.sh FOLDER.  `make pictures` calls this.
set -euo pipefail
out=$(realpath "$1")
demo=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'esrffs -u "$work/mnt" 2>/dev/null || true; rm -rf -- "$work"' EXIT

python "$demo/terminal.py" "$out/terminal.svg"
(cd "$demo/.." && python -m benchmarks.picture docs/performance.md "$out/performance.png")

python "$demo/make_experiment.py" "$work/experiment"
mkdir "$work/mnt"
esrffs "$work/experiment" "$work/mnt" 2>/dev/null
python "$demo/picture.py" "$out/corrected.png" \
    "$work/mnt/tomo.h5/entry/data/data.npy:20" "$work/mnt/tomo.h5/entry/corrected/data.npy:20"
