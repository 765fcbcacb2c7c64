"""Requests of the kernel in, answers and errnos out.

pyfuse3 only in modules named `pyfuse3_*`.
"""
