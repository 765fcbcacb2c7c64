"""Whatever the answers to a convention are, it gives a plan that fits together, or none."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from esrffs.flatfield.conventions.detect import detect_in_folder, detect_in_group
from esrffs.flatfield.conventions.queries import (
    DescribeArray,
    ListMembers,
    MemberSummary,
    ReadValues,
    answer_all,
)
from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, Rejected
from tests.support.correction_plans import provenance_of

NAMES = st.sampled_from(
    "data raw flat flatfield dark background data_white data_dark flat_000 flat_500 scan "
    "instrument detector image_key image_key_control definition technique title "
    "scan_category 1.1 2.1 2.2 3.1 10.1 0000 0500 x".split()
)
FILES = st.sampled_from(
    "dark.edf dark_1.edf flat.edf flat_0500.edf a.edf a_0001.edf a_0002.edf a_####.edf "
    "bone_0001.edf bone_.info .info darkend0000.edf ref0000_0000.edf ref0001_0500.edf "
    "refHST0500.edf .esrffs.toml edf #.edf Tomo sample Flat_Before Flat_After Dark "
    "wood_000.5.edf wood.0001 flatworm.edf".split()
)
SHAPES = st.sampled_from([(2, 3), (5, 2, 3), (0, 2, 3), (5, 3, 2), (2, 0), (5,), (), (1, 2, 2, 3)])
DTYPES = st.sampled_from(["u2", ">i4", "f4", "c8", "U3", "?", "V4"])
ENTRIES = st.builds(
    MemberSummary,
    st.sampled_from(["group", "dataset", "link", "image", "series", "data", "folder", "other"]),
    st.none() | SHAPES,
    st.none() | DTYPES.map(np.dtype),
    st.lists(st.integers(0, 9), max_size=3, unique=True).map(tuple),
    st.booleans(),
)
VALUES = st.one_of(
    st.none(),
    st.lists(st.sampled_from([0, 1, 2, 3, -1]), min_size=5, max_size=5).map(np.array),
    st.sampled_from(["projections", "NXtomo", "dark", "tomo:x", "ref"]).map(np.array),
    st.sampled_from([0, 1, 2, 7, 0.5, b"x"]).map(np.array),
    st.just(np.zeros((2, 2))),
    st.just(np.arange(5.0)),
)
TEXTS = st.none() | st.sampled_from(
    [
        b"",
        b"\xff",
        b"DARK_N=20",
        b"[[corrected]]\nraw='a.edf'\ndark='dark.edf'\nflat='flat.edf'",
        b"DARK_N=five",
        b"\xff\xfeD",
        b"\xef\xbb\xbf[[corrected]]\nraw=['a.edf','Tomo/*']\ndark=0\n"
        b"flat='../Dark/*_000?.edf'\nleave_out=[1,'3:5']\nflat_dark=1\nscale=2",
        b"[[corrected]]\ndata='a.edf'\nkeys='x.h5::/a/b'\nleave_out=2",
        b"[[corrected]]\ndata='s.h5::/a'\nkeys='x.h5::/a/b'\ndark=1\nflat='flat.edf'",
    ]
)


def answers(data, names):
    known: dict[object, object] = {}

    def answer(question):
        if question not in known:
            if isinstance(question, ListMembers):
                drawn = st.none() | st.dictionaries(names, ENTRIES, max_size=8)
            elif isinstance(question, DescribeArray):
                drawn = st.none() | ENTRIES
            else:
                drawn = VALUES if isinstance(question, ReadValues) else TEXTS
            known[question] = data.draw(drawn)
        return known[question]

    return answer


def check(found):
    if not isinstance(found, CorrectionPlan):
        assert found is None or (isinstance(found, Rejected) and found.reason)
        return
    assert provenance_of(found)["results"]
    for output in found.outputs:
        assert output.correction.axis
        frames = sum(stretch.part.last - stretch.part.first for stretch in output.raw)
        assert frames == (output.shape[0] if len(output.shape) == 3 else 1)
        assert len(output.currents) in (0, frames)


@settings(max_examples=150)
@given(st.data(), st.sampled_from(["", "a", "2.1", "a/2.1"]), st.booleans())
def test_files(data, path, norm):
    check(
        answer_all(
            detect_in_group(path, CorrectionOptions(norm_current=norm, no_dark=norm)),
            answers(data, NAMES),
        )
    )


@settings(max_examples=150)
@given(st.data(), st.booleans())
def test_folders(data, norm):
    check(answer_all(detect_in_folder(CorrectionOptions(no_dark=norm)), answers(data, FILES)))
