#!/usr/bin/env bash
# The Debian package of the libfuse3 that pyfuse3 was linked to: libfuse3-3 on Debian 12, libfuse3-4 on
# 13.  packaging/libfuse.sh FOLDER, the one that holds pyfuse3.
set -euo pipefail
name=$(ldd "$1"/pyfuse3/*.so | sed -n 's/^\s*\(libfuse3\.so\.[0-9]*\) .*/\1/p' | sort -u)
[ -n "$name" ] || { echo "$1/pyfuse3 is not linked to libfuse3" >&2; exit 1; }
dpkg -S "*/$name" | sed -n '1s/:.*//p' # by its name alone: /lib is /usr/lib in some releases
