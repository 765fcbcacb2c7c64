"""Manual pages, completions and the table of options are those that the program's options give."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from esrffs.cli.options import SWITCHES, MountOptions
from tools import pages

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(pages.made(ROOT)))
def test_what_is_committed_is_what_is_made(name: str) -> None:
    assert (ROOT / name).read_text() == pages.made(ROOT)[name], "run `python -m tools.pages`"


def test_every_option_of_esrffs_that_the_comparison_names_exists() -> None:
    text = (ROOT / pages.OPTIONS_PAGE).read_text().split("## Coming from")[1]
    ours = {"--" + entry.name.replace("_", "-") for entry in fields(MountOptions)}
    ours |= {f"--{switch.name}" for switch in SWITCHES}
    for row in re.findall(r"^\| (.*?) \| (.*) \|$", text, re.MULTILINE):
        left, right = row
        same = left if right.startswith("the same") else ""
        named = set(re.findall(r"`(--[a-z-]+)", right + same))
        assert named <= ours, row
