#!/usr/bin/env bash
# Make a small experiment, mount it, look around, unmount.  `make demo` calls this; KEEP=1 leaves
# the mount for you to play with.
set -euo pipefail

demo=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/esrffs-demo.XXXXXX")
kept=""

leave() {
    local status=$?
    cd /
    [ -z "$kept" ] || return 0
    if mountpoint -q "$work/mnt"; then
        esrffs -u "$work/mnt" || { sleep 1; esrffs -u "$work/mnt"; } || {
            echo "demo: could not unmount $work/mnt" >&2
            exit 1
        }
    fi
    rm -rf -- "$work"
    [ $status = 0 ] || echo "demo: stopped by an error (status $status); nothing is left behind" >&2
    exit $status
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold="" plain=""; fi
say() { printf '\n%s\n' "# $*"; }
run() { # show a command as it would be typed, then what it answers
    printf '%s$ %s%s\n' "$bold" "$1" "$plain"
    eval "$1" 2>&1
}

cd "$work"
mkdir mnt
python "$demo/make_experiment.py" experiment
ln -s "$demo/show.py" show.py

say "A small experiment: an alignment in a Spec file, radiographs in EDF files, a scan in HDF5."
run "ls experiment experiment/radiographs"

say "Mount it.  Every data file is a directory now; other files are as they were."
run "esrffs experiment mnt"
run "tree --noreport -L 3 -F mnt"

say "An HDF5 group is a directory, a dataset an .npy file, a soft link a symlink."
run "tree --noreport mnt/tomo.h5/entry"

say "Sizes are exact before anything is read: this stack is compressed in the file."
run "ls -lh experiment/tomo.h5 mnt/tomo.h5/entry/instrument/detector/data.npy"

say "Attributes are JSON."
run "jq -c . mnt/tomo.h5/entry/data/attrs.json"
run "jq . mnt/tomo.h5/entry/instrument/detector/data.attrs.json"

say "A Spec scan: counters and motors are arrays."
run "ls mnt/alignment.dat/2.1/measurement"
run "python -c 'import numpy as np; m = \"mnt/alignment.dat/2.1/measurement/\"
srot, diode = np.load(m + \"srot.npy\"), np.load(m + \"diode.npy\")
print(len(diode), \"points, peak of\", diode.max(), \"at srot =\", srot[diode.argmax()])'"

say "A numbered run of EDF files is also one stack; what the headers say is one value per frame."
run "python -c 'import numpy as np; s = \"mnt/radiographs/sample_####.edf/scan_0/\"
print(np.load(s + \"instrument/detector_0/data.npy\", mmap_mode=\"r\").shape)
print(np.load(s + \"instrument/positioners/srot.npy\"))'"

say "One frame of the scan, as the camera saw it."
run "python show.py mnt/tomo.h5/entry/data/data.npy 20"

if [ -e mnt/tomo.h5/entry/corrected/data.npy ]; then
    say "The same frame, (raw - dark) / (flat - dark), computed when it is read."
    run "python show.py mnt/tomo.h5/entry/corrected/data.npy 20"
fi

say "The same arrays in other formats, made when they are read: cp is the converter."
run "cp mnt/tomo.h5/entry/data/data.tif . && python -c 'import tifffile
print(tifffile.TiffFile(\"data.tif\").series[0])'"
run "cp mnt/alignment.dat.h5 . && python -c 'import h5py
print(*h5py.File(\"alignment.dat.h5\")[\"2.1/measurement\"])'"

say "It is read-only."
run "touch mnt/tomo.h5/entry/new || true"

program=$(command -v esrffs)
if [ -n "${KEEP:-}" ]; then
    kept=yes again=""
    say "Left mounted for you, in $work/mnt.  When you are done:"
    echo "$program -u $work/mnt && rm -r $work"
else
    again="with this experiment:   KEEP=1 make demo      (leaves it mounted for you to play with)"$'\n'
    say "Unmount."
    run "esrffs -u mnt"
    run "ls mnt"
fi

say "How to go on"
cat <<NEXT
${again}with your own data:     mkdir -p ~/mnt
                        $program /path/to/your/data ~/mnt
                        $program -u ~/mnt
to install it:          "Install" in README.md
five minutes more:      docs/tutorial.md
NEXT
