"""Marks of tests that need what not every machine has."""

import os

import pytest

from tests.support.mounts import FUSE

needs_fuse = pytest.mark.skipif(not FUSE, reason="there is no /dev/fuse")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do so")
