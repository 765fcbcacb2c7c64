#!/usr/bin/env bash
# The pictures of the README and of docs/: demo/pictures.sh FOLDER.  `make pictures` calls this.
# docs/diatom.png is made where the images of the silx training are: DIATOM is the folder with
# data.edf, flat.edf and dark.edf of its exercise ID16_diatomee.
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

diatom=${DIATOM:-$demo/../../shared/data/ID16_diatomee}
if [ -d "$diatom" ]; then
    esrffs -u "$work/mnt"
    esrffs "$diatom" "$work/mnt" 2>/dev/null
    scan=$work/mnt/data.edf/scan_0/instrument/detector_0
    python "$demo/picture.py" --bin 2 "$out/diatom.png" \
        "$scan/data.npy" "$work/mnt/corrected/data.npy" "$work/mnt/absorption/data.npy"
fi
