"""Recognises a program that goes through the groups of a file one after another.

`ls -R`, `find` and `cp -r` list the groups of one parent in their order.  The reader can then be
asked for the next groups together with the one that is wanted.  Whether the program also goes into
the groups (`find -maxdepth 2` does not) decides if what is below them is asked for as well.
In a directory of more than 10 000 entries `find` goes by inode numbers, hence in any order: many
groups of one parent are a walk, too.
Pure: nothing is listed here.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_PARENTS = 1000  # of one file, whose last child is remembered
MAX_FOLLOWING = 256  # groups that a reader is told
MIN_VISITS = 16  # groups of one parent that make a walk in any order


@dataclass(slots=True)
class _Position:
    """Which group of a parent was listed last, and whether a group below that one was, too."""

    last: int
    entered: bool = False
    visits: int = 1


@dataclass(frozen=True, slots=True)
class Following:
    """The groups that come next in a walk; `deep`: with all that is below them."""

    groups: Sequence[str] = ()
    deep: bool = False


class GroupWalks:
    """The walks through one file."""

    def __init__(self) -> None:
        self._positions: OrderedDict[str, _Position] = OrderedDict()  # by address of the parent

    def visit(
        self, address: str, groups: Sequence[str] = (), positions: Mapping[str, int] | None = None
    ) -> Following:
        """The group at this address is wanted: what follows, if it is the next one of a walk.

        `groups` are the addresses of its siblings in their order, `positions` their numbers;
        without them (the parent was not listed) nothing follows.
        """
        parent = address.rpartition("/")[0]
        above = self._positions.get(parent.rpartition("/")[0])
        if above is not None and parent:
            above.entered = True
        number = (positions or {}).get(address)
        if number is None or not address:
            return Following()
        position = self._positions.get(parent)
        if position is None:
            self._positions[parent] = _Position(number)
            while len(self._positions) > MAX_PARENTS:
                self._positions.popitem(last=False)
            return Following()
        self._positions.move_to_end(parent)
        if number == position.last:
            return Following()
        in_turn, deep = number == position.last + 1, position.entered
        position.last, position.entered = number, False
        position.visits += 1
        if not in_turn and position.visits < MIN_VISITS:
            return Following()
        return Following(groups[number + 1 : number + 1 + MAX_FOLLOWING], deep)
