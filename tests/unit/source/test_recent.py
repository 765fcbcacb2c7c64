"""`source/recent`: what a listing of a slow folder answers, and for how long."""

from esrffs.model import FileStatus
from esrffs.source import recent
from esrffs.source.recent import RecentListings
from esrffs.source.root import FolderEntry


def status(inode: int) -> FileStatus:
    return FileStatus(0o100644, inode, 1, 0, 0, 10, 0, 0, 0)


def entries(folder: str, count: int) -> list[FolderEntry]:
    paths = [f"{folder}/{number}".lstrip("/") for number in range(count)]
    return [FolderEntry(path.split("/")[-1], path, status(n)) for n, path in enumerate(paths)]


def test_a_listing_answers_for_its_folder_and_its_entries() -> None:
    listings: RecentListings[FolderEntry] = RecentListings(1.0)
    found = entries("a", 3)
    listings.put("a", status(99), found, started=10.0, now=10.1)
    assert listings.entries("a", 10.5) == found
    assert listings.entry("a", "1", 10.5) == found[1]
    assert listings.entry("a", "7", 10.5) is None
    assert listings.status("a", 10.5) == status(99)
    assert listings.status("a/2", 10.5) == status(2)
    assert listings.status("a/2/x", 10.5) is None
    assert listings.status("b", 10.5) is None


def test_it_is_believed_for_a_second_or_twice_as_long_as_it_took() -> None:
    for took, believed in ((0.1, 1.0), (3.0, 6.0), (100.0, 10.0)):
        listings: RecentListings[FolderEntry] = RecentListings(1.0)
        listings.put("", status(1), entries("", 1), started=0.0, now=took)
        assert listings.entries("", took + believed - 0.01) is not None
        assert listings.entries("", took + believed) is None
        assert listings.status("0", took + believed) is None


def test_a_mount_that_believes_nothing_remembers_nothing() -> None:
    listings: RecentListings[FolderEntry] = RecentListings(0.0)
    listings.put("", status(1), entries("", 1), started=0.0, now=9.0)
    listings.put_status("x", status(1), 9.0)
    assert listings.entries("", 9.0) is None
    assert listings.status("x", 9.0) is None


def test_the_status_of_a_link_is_not_that_of_its_target() -> None:
    listings: RecentListings[FolderEntry] = RecentListings(1.0)
    listings.put("", status(1), [FolderEntry("l", "l", status(2), link="x")], 0.0, 0.0)
    assert listings.entry("", "l", 0.5) is not None
    assert listings.status("l", 0.5) is None
    listings.put_status("l", status(3), 0.5)
    assert listings.status("l", 0.6) == status(3)
    assert listings.status("l", 1.5) is None


def test_what_changed_is_forgotten_with_its_folder() -> None:
    listings: RecentListings[FolderEntry] = RecentListings(1.0)
    listings.put("a", status(1), entries("a", 2), 0.0, 0.0)
    listings.put("b", status(1), entries("b", 2), 0.0, 0.0)
    listings.put_status("a/1", status(7), 0.0)
    listings.forget("a/1")
    assert listings.entries("a", 0.1) is None
    assert listings.status("a/1", 0.1) is None
    assert listings.status("b/1", 0.1) is not None


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(recent, "MAX_ENTRIES", 10)
    monkeypatch.setattr(recent, "MAX_STATUSES", 2)
    listings: RecentListings[FolderEntry] = RecentListings(1.0)
    for name in "abcd":
        listings.put(name, status(1), entries(name, 5), 0.0, 0.0)
        listings.put_status(f"x{name}", status(2), 0.0)
    assert [bool(listings.entries(name, 0.0)) for name in "abcd"] == [False, False, True, True]
    assert [bool(listings.status(f"x{name}", 0.0)) for name in "abcd"] == [
        False,
        False,
        True,
        True,
    ]
    listings.put("all", status(1), entries("all", 50), 0.0, 0.0)
    assert listings.entries("all", 0.0) is not None  # one folder may have more
