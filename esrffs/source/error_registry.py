"""What went wrong with each object of a mount, for its extended attribute `user.esrffs.error`.

This is state, not cache: a text stays until it is replaced, forgotten, or pushed out by many later
ones.  The owner of a text is what the bytes of the object depend on (the version of a data file,
the key of a corrected array) or a folder of the source: a file that changed begins without errors.
"""

from collections import OrderedDict
from collections.abc import Hashable

MAX_OWNERS = 4096
MAX_ERRORS_PER_OWNER = 100


class ErrorRegistry:
    """Error texts by owner and, in a data file, by the address of the object."""

    def __init__(self) -> None:
        self._texts: OrderedDict[Hashable, dict[str, str]] = OrderedDict()  # the latest at the end

    def __repr__(self) -> str:
        return f"<ErrorRegistry of {len(self._texts)} files, folders and arrays>"

    def record(
        self, owner: Hashable, text: str, address: str = "", *, replace: bool = True
    ) -> None:
        """Keep this text, instead of an earlier one if `replace`."""
        texts = self._texts.setdefault(owner, {})
        self._texts.move_to_end(owner)
        if address in texts:
            if replace:
                texts[address] = text
        elif len(texts) < MAX_ERRORS_PER_OWNER:
            texts[address] = text
        while len(self._texts) > MAX_OWNERS:
            self._texts.popitem(last=False)

    def forget(self, owner: Hashable) -> None:
        """Drop all texts of this owner."""
        self._texts.pop(owner, None)

    def text(self, owner: Hashable, address: str = "") -> str | None:
        """What went wrong with this object itself."""
        return self._texts.get(owner, {}).get(address)

    def text_within(self, owner: Hashable, group: str = "") -> str | None:
        """What went wrong with this group and with the objects in it; "": with any of the owner."""
        texts = self._texts.get(owner, {})
        inside = [
            text
            for address, text in texts.items()
            if not group or address == group or address.startswith(f"{group}/")
        ]
        return "\n".join(inside) or None
