"""Errors of objects: found by owner and address, bounded."""

import pytest

from esrffs.source.error_registry import MAX_ERRORS_PER_OWNER, MAX_OWNERS, ErrorRegistry


def test_an_error_belongs_to_an_object_of_an_owner() -> None:
    errors = ErrorRegistry()
    errors.record("folder", "nothing to correct")
    errors.record(b"v1", "bad chunk", "/a/x")
    assert errors.text("folder") == "nothing to correct"
    assert errors.text(b"v1", "/a/x") == "bad chunk"
    assert errors.text(b"v1") is None
    assert errors.text(b"v2", "/a/x") is None, "another state of the file"
    errors.forget("folder")
    assert errors.text("folder") is None


@pytest.mark.parametrize(("replace", "expected"), [(True, "later"), (False, "first")])
def test_a_later_error_of_one_object(replace: bool, expected: str) -> None:
    errors = ErrorRegistry()
    errors.record(1, "first", "/x")
    errors.record(1, "later", "/x", replace=replace)
    assert errors.text(1, "/x") == expected


def test_a_group_tells_what_is_in_it_and_not_what_begins_alike() -> None:
    errors = ErrorRegistry()
    for address in ("", "/a", "/a/x", "/ab", "/b/a"):
        errors.record(1, f"at {address or 'the root'}", address)
    assert errors.text_within(1, "/a") == "at /a\nat /a/x"
    assert errors.text_within(1, "/c") is None
    assert (errors.text_within(1) or "").count("\n") == 4


def test_its_size_is_bounded() -> None:
    errors = ErrorRegistry()
    for number in range(MAX_ERRORS_PER_OWNER + 10):
        errors.record("file", "bad", f"/{number}")
    assert (errors.text_within("file") or "").count("bad") == MAX_ERRORS_PER_OWNER
    errors.record("file", "worse", "/0")
    assert errors.text("file", "/0") == "worse"
    for number in range(MAX_OWNERS):
        errors.record(number, "bad")
    assert errors.text("file", "/0") is None, "the oldest goes first"
    assert errors.text(0) == "bad"
