"""Loaded by the fork server of a program made by `tests.faults.readers.program`."""

from tests.faults import readers

readers.install()
