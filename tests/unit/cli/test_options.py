"""Options as they are written on a command line and in /etc/fstab."""

import grp
import pwd
from dataclasses import fields

import pytest

from esrffs.cli.options import MountOptions, apply_option_strings, split_option_string
from esrffs.errors import UsageError


def test_the_values_of_every_option() -> None:
    assert apply_option_strings(MountOptions(), []) == MountOptions()
    changed = apply_option_strings(
        MountOptions(), ["uid=0,gid=12,umask=027", "noexec,nan=1.5", "cache_size=9"]
    )
    assert (changed.uid, changed.gid, changed.umask, changed.noexec) == (0, 12, 0o27, True)
    assert (changed.nan, changed.cache_size) == (1.5, 9)
    assert apply_option_strings(MountOptions(), ["uid=root"]).uid == 0
    assert apply_option_strings(MountOptions(), ["gid=" + grp.getgrgid(0).gr_name]).gid == 0


@pytest.mark.parametrize(
    "text", ["uid=-1", "uid=no-such-user", "gid=x y", "umask=8", "umask=1777", "fmask=", "uid"]
)
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=text.split("=")[0]):
        apply_option_strings(MountOptions(), [text])


def test_the_last_one_counts() -> None:
    assert apply_option_strings(MountOptions(), ["workers=3,workers=4", "workers=5"]).workers == 5


def test_commas_in_values() -> None:
    assert split_option_string(r"a,log_file=x\,y,,b\\") == ["a", "log_file=x,y", "b\\"]


def test_every_option_says_what_it_is() -> None:
    for entry in fields(MountOptions):
        assert entry.metadata["help"]
        assert (entry.metadata["convert"] is None) == (entry.metadata["kind"] == "")


def test_the_user_is_found_by_name() -> None:
    nobody = pwd.getpwnam("nobody")
    assert apply_option_strings(MountOptions(), ["uid=nobody"]).uid == nobody.pw_uid
