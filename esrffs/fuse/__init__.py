"""Requests of the kernel in, answers and errnos out.

`filesystem` and the modules that it uses know no library for FUSE; `pyfuse3_*` know nothing else.
"""
