#!/usr/bin/env bash
# Print the name of the Debian package with the libfuse3 that pyfuse3 is linked to: libfuse3-3 on Debian
# 12, libfuse3-4 on Debian 13.  packaging/libfuse.sh FOLDER, where FOLDER contains pyfuse3.
set -euo pipefail
name=$(ldd "$1"/pyfuse3/*.so | sed -n 's/^\s*\(libfuse3\.so\.[0-9]*\) .*/\1/p' | sort -u)
[ -n "$name" ] || { echo "$1/pyfuse3 is not linked to libfuse3" >&2; exit 1; }
dpkg -S "*/$name" | sed -n '1s/:.*//p' # without the folder, which is /lib in some releases and /usr/lib in others
