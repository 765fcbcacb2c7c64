#!/usr/bin/env bash
# Make a Python environment in FOLDER and install esrffs into it: packaging/venv.sh FOLDER.
# `make install` runs this.
set -euo pipefail
folder=$1
cd "$(dirname "$0")/.."
python=$(.ci/python) || {
    echo "${PYTHON:-the Python of this machine} does not serve: it takes Python 3.11 or newer with its headers and" \
        "venv (on Debian: python3-dev python3-venv); PYTHON=… names one" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
packaging/copy.sh "$work"
echo "esrffs and its libraries into $folder, with $("$python" --version) (120 MB to fetch; a minute)"
"$python" -m venv --clear "$folder"
.ci/pip-install "$folder/bin/python" "$work"
