#!/usr/bin/env bash
# Copy what pip needs to build esrffs into FOLDER: packaging/copy.sh FOLDER.  pip builds from the copy,
# so that a build by root leaves no file in the clone that its owner could not change.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
cp -r pyproject.toml README.md LICENSE esrffs "$1"
find "$1" -name __pycache__ -type d -prune -exec rm -rf {} +
find "$1" -name '*.so' -delete
