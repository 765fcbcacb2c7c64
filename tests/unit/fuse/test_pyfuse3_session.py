"""`fuse/pyfuse3_session`: a mount that fails says why, with libfuse's own words."""

import os
from pathlib import Path

import pytest

from esrffs.errors import MountError
from esrffs.fuse.pyfuse3_session import Session, _stderr_text
from tests.support.fuse_nodes import DirectoryNode, filesystem


def test_what_libfuse_prints_is_the_text_of_the_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nothing"
    with pytest.raises(MountError, match=f"^{nowhere}: .*No such file"):
        Session(filesystem(DirectoryNode()), str(nowhere), {"fsname=x"}, lambda: False)
    assert capfd.readouterr().err == ""


def test_stderr_is_what_it_was_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with _stderr_text() as text:
        os.write(2, b"inside")
        assert text() == "inside"
    os.write(2, b"outside")
    assert capfd.readouterr().err == "outside"
