"""What went wrong with objects of the mount, for `user.esrffs.error`.

State, not cache: a text stays until it is forgotten or too many others came after it.
"""

from collections import OrderedDict
from collections.abc import Hashable

MAX_ERRORS = 10_000


class ErrorRegistry:
    """Texts by key.  A key is made of what the object's bytes depend on, or of its path."""

    def __init__(self) -> None:
        self._texts: OrderedDict[Hashable, str] = OrderedDict()

    def record(self, key: Hashable, text: str) -> None:
        """Replaces what was recorded under this key before."""
        self._texts[key] = text
        self._texts.move_to_end(key)
        while len(self._texts) > MAX_ERRORS:
            self._texts.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        self._texts.pop(key, None)

    def text(self, key: Hashable) -> str | None:
        return self._texts.get(key)
