"""Which names make up numbered runs."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from esrffs.formats.file_series import group_series, parse_numbered_name


def test_a_run() -> None:
    names = ["dark.edf", "ID19_0002.edf", "ID19_0000.edf", "ID19_0001.edf", "x_0001.edf"]
    assert group_series(names) == {
        "ID19_####.edf": ("ID19_0000.edf", "ID19_0001.edf", "ID19_0002.edf")
    }


def test_other_width_or_extension_is_another_run() -> None:
    names = ["a9998.edf", "a9999.edf", "a10000.edf", "a10001.edf", "a9997.cbf", "a9998.edf.gz"]
    assert group_series(names) == {
        "a####.edf": ("a9998.edf", "a9999.edf"),
        "a#####.edf": ("a10000.edf", "a10001.edf"),
    }


def test_the_last_number_of_the_stem_counts() -> None:
    assert parse_numbered_name("a01_002_roi.edf.gz") == ("a01_", "002", "_roi.edf.gz")
    assert parse_numbered_name("scan2.jp2") == ("scan", "2", ".jp2")
    assert parse_numbered_name("frame.0012") == ("frame.", "0012", "")
    assert parse_numbered_name("frame.0012.gz") == ("frame.", "0012", ".gz")
    assert parse_numbered_name("data_1.5_03.edf") == ("data_1.5_", "03", ".edf")
    assert parse_numbered_name("img") is None
    assert parse_numbered_name("dark.mar2300") is None
    assert parse_numbered_name("ref0000_1500.edf") == ("ref0000_", "1500", ".edf")
    assert parse_numbered_name(".0001.edf") == (".", "0001", ".edf")
    assert parse_numbered_name("a\n1\udcff.edf") == ("a\n", "1", "\udcff.edf")


NAMES = st.lists(
    st.builds(
        lambda before, number, width, after: f"{before}{number:0{width}d}{after}",
        st.sampled_from(["", "a", "a_1_", "#", "b.", "ä"]),
        st.integers(0, 1200),
        st.integers(1, 4),
        st.sampled_from(["", ".edf", ".edf.gz", "_x.cbf", ".7"]),
    )
    | st.text(max_size=8)
)


@given(NAMES, st.randoms())
def test_every_run_is_of_its_name(names: list[str], random: Random) -> None:
    runs = group_series(names)
    for name, members in runs.items():
        parts = [parse_numbered_name(member) for member in members]
        assert len(members) >= 2
        assert set(members) <= set(names)
        assert {part.series for part in parts if part} == {name}
        numbers = [int(part.digits) for part in parts if part]
        assert numbers == sorted(set(numbers))
    assert len({member for run in runs.values() for member in run}) == sum(map(len, runs.values()))
    shuffled = list(names)
    random.shuffle(shuffled)
    assert list(group_series(shuffled).items()) == list(runs.items())
