"""Extended attributes are within the limits of the kernel."""

import json

from hypothesis import given
from hypothesis import strategies as st

from esrffs.encoders import xattrs
from esrffs.encoders.json_text import to_json

texts = st.text(max_size=300) | st.integers(65_530, 65_540).map("x".__mul__)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts


@given(st.dictionaries(st.text(max_size=300), scalars | st.lists(st.integers(), max_size=2)))
def test_whatever_attributes_there_are(attributes: dict[str, object]) -> None:
    encoded = to_json(attributes)
    found = xattrs.from_json(encoded)
    for name, value in json.loads(encoded).items():
        full = b"user." + name.encode()
        text = value if isinstance(value, str) else json.dumps(value)
        fits = 5 < len(full) <= 255 and len(text.encode()) <= 65_536
        provenance_of = fits and not isinstance(value, list) and not name.startswith("esrffs.")
        assert (full in found) is provenance_of
        if (provenance_of and not isinstance(value, float | int)) or isinstance(value, bool):
            assert not provenance_of or found[full] == text.encode()
        elif provenance_of:
            assert type(value)(found[full].decode()) == value


@given(st.lists(st.binary(min_size=1, max_size=255), max_size=600))
def test_a_list_is_as_long_as_the_kernel_takes(names: list[bytes]) -> None:
    chosen = xattrs.truncate_names(names)
    assert chosen == names[: len(chosen)]
    size = sum(len(name) + 1 for name in chosen)
    assert size <= 65_536
    assert len(chosen) == len(names) or size + len(names[len(chosen)]) + 1 > 65_536
