#!/usr/bin/env bash
# Copy what pip needs to build esrffs: packaging/copy.sh FOLDER.  Built in a copy, it leaves nothing in
# the clone, where the next user could not change what root has left.
set -euo pipefail
cd "$(dirname "$0")/.."
cp -r pyproject.toml README.md LICENSE esrffs "$1"
find "$1" -name __pycache__ -type d -prune -exec rm -rf {} +
