"""Texts of errors that nobody has foreseen."""

import errno

import pytest

from esrffs import errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files (see `ulimit -n`)"),
        (OSError(errno.EAGAIN, "Resource busy"), "Resource busy (see `ulimit -u`)"),
        (FileNotFoundError(2, "No such file", b"a\xff"), "a\udcff: No such file"),
        (RuntimeError("can't start new thread"), "no thread can be started; see `ulimit -u`"),
        (ExceptionGroup("", [ExceptionGroup("", [EOFError()])]), "it ended at once; memory or"),
        (ImportError("numpy\nfailed to map\n"), "or a damaged installation (failed to map); see"),
        (KeyError("x"), "an internal error, KeyError ('x'); please report it"),
    ],
    ids=repr,
)
def test_what_nobody_has_foreseen_is_a_sentence(error: Exception, text: str) -> None:
    assert text in errors.unforeseen(error)
