"""Records of a listing that are equal for many objects of a file, made once and shared.

Most datasets of a file have one of a few sets of attributes, and one of a few layouts.  A shared
record is encoded once, and is sent once with a listing, however many members have it.
"""

from esrffs.encoders.json_text import to_json
from esrffs.model import ChunkedLayout, JsonText

MAX_RECORDS = 1024  # of each kind


class SharedRecords:
    """The records that were made for one file."""

    def __init__(self) -> None:
        self._json: dict[str, JsonText] = {}
        self._layouts: dict[ChunkedLayout, ChunkedLayout] = {}

    def json(self, attributes: dict[str, object], enumeration: object = None) -> JsonText | None:
        """Attributes as JSON; None where there are none.

        Values are bytes, int, float, bool, None, or lists of these: what
        `fast_path.read_simple_attributes` gives.  `enumeration` comes last, under "__enum__".
        """
        if enumeration:
            return JsonText.of(to_json({**attributes, "__enum__": enumeration}))
        if not attributes:
            return None
        key = repr(attributes)  # equal numbers of different types, as 1 and True, differ in it
        if key not in self._json:
            if len(self._json) >= MAX_RECORDS:
                self._json.clear()
            self._json[key] = JsonText.of(to_json(attributes))
        return self._json[key]

    def layout(self, layout: ChunkedLayout) -> ChunkedLayout:
        """An equal layout that was given before, or this one."""
        if len(self._layouts) >= MAX_RECORDS:
            self._layouts.clear()
        return self._layouts.setdefault(layout, layout)
