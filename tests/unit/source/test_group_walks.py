"""Which orders of groups are walks, and how deep these are."""

from esrffs.source import group_walks
from esrffs.source.group_walks import Following, GroupWalks

GROUPS = tuple(f"/{number}" for number in range(9))
POSITIONS = {address: number for number, address in enumerate(GROUPS)}
BELOW = ("/1/a", "/1/b")


def visits(walks: GroupWalks, *addresses: str) -> list[Following]:
    return [walks.visit(address, GROUPS, POSITIONS) for address in addresses]


def test_the_next_group_of_its_parent_is_a_walk() -> None:
    walks = GroupWalks()
    assert visits(walks, "/1", "/1", "/4") == [Following()] * 3
    assert visits(walks, "/5") == [Following(GROUPS[6:])]
    assert visits(walks, "/4", "/2") == [Following()] * 2
    assert visits(walks, "/3", "/4") == [Following(GROUPS[4:]), Following(GROUPS[5:])]


def test_a_walk_is_deep_where_it_went_into_the_last_group() -> None:
    walks = GroupWalks()
    visits(walks, "/1")
    walks.visit("/1/a", BELOW, {address: n for n, address in enumerate(BELOW)})
    assert visits(walks, "/2") == [Following(GROUPS[3:], deep=True)]
    assert visits(walks, "/3") == [Following(GROUPS[4:], deep=False)]


def test_many_groups_of_one_parent_are_a_walk_in_any_order() -> None:
    many = tuple(f"/{number}" for number in range(100))
    positions = {address: number for number, address in enumerate(many)}
    walks = GroupWalks()
    found = [walks.visit(f"/{37 * k % 100}", many, positions) for k in range(40)]
    first = group_walks.MIN_VISITS - 1
    assert not any(one.groups for one in found[:first])
    assert found[first] == Following(many[37 * first % 100 + 1 :])


def test_without_the_parent_nothing_is_known_to_follow() -> None:
    walks = GroupWalks()
    assert walks.visit("") == walks.visit("/1") == walks.visit("/2") == Following()


def test_what_follows_and_what_is_remembered_is_bounded() -> None:
    walks = GroupWalks()
    many = tuple(f"/{number}" for number in range(1000))
    positions = {address: number for number, address in enumerate(many)}
    walks.visit("/0", many, positions)
    assert len(walks.visit("/1", many, positions).groups) == group_walks.MAX_FOLLOWING
    for number in range(2 * group_walks.MAX_PARENTS):
        walks.visit(f"/{number}/a", (f"/{number}/a",), {f"/{number}/a": 0})
    assert len(walks._positions) == group_walks.MAX_PARENTS
