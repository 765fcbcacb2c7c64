"""A folder whose parents are looked at never leads out of the source."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "target", ["/usr/share", "outside", "source/inside/../../outside", "rooted"]
)
def test_what_lies_outside_of_the_folder_may_not_be_referred_to(place: Path, target: str) -> None:
    """However it got there: asked in a process of its own, as it went up from "/" for ever."""
    (place / "source/inside").mkdir(parents=True)
    (place / "outside").mkdir()
    (place / "source2").mkdir()  # whose name begins like that of the source
    (place / "source/rooted").symlink_to(place / "source2")
    where = place / "source" / target if target == "rooted" else place / target
    program = textwrap.dedent(
        f"""
        from esrffs.linux.permissions import may_reference
        holder, folder = "{place}/source/inside", "{place}/source"
        print(may_reference(holder, "{where}", folder), may_reference(holder, holder, folder))
        print(may_reference(holder, "{where}", "/"))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout.split() == ["False", "True", "True"], done.stderr
