"""Objects by their path, in listings that are made up."""

import pytest

from esrffs.errors import DamagedError, LinkLoopError, NotFoundError
from esrffs.formats.find_object import find_object
from esrffs.model import BrokenInfo, GroupInfo, GroupListing, JsonInfo, JsonText, LinkInfo

TEXT = JsonInfo("text", "/g/text", JsonText.of(b"{}\n"))
GROUPS = {
    "": (
        GroupInfo("group", "/g"),
        LinkInfo("link", "/group/inner"),
        LinkInfo("circle", "/circle"),
        LinkInfo("nowhere", "/group/none"),
        BrokenInfo("broken", "it is cut short"),
    ),
    "/g": (GroupInfo("inner", "/i"), TEXT),
    "/i": (LinkInfo("up", "/group/text"),),
}


def listing(address: str) -> GroupListing:
    return GroupListing(GROUPS[address])


def test_found() -> None:
    for path in ("", "/"):
        assert find_object(listing, path) == GroupInfo("", "")
    for path in ("/group/inner", "group//inner/", "/link"):
        assert find_object(listing, path) == GroupInfo("inner", "/i")
    for path in ("/group/text", "/link/up", "/group/inner/up"):
        assert find_object(listing, path) == TEXT


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/none", NotFoundError, "there is no /none"),
        ("/nowhere", NotFoundError, "there is no /nowhere"),
        ("/group/text/more", NotFoundError, "text is not a group"),
        ("/broken", DamagedError, "/broken: it is cut short"),
        ("/circle", LinkLoopError, "too many links on the way to /circle"),
    ],
)
def test_not_found(path: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        find_object(listing, path)
