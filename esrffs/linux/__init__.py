"""Kernel interfaces that Python lacks: openat2, Landlock, ACLs, mountinfo, huge pages."""
