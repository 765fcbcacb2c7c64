"""What the failures of FabIO, Pillow, NumPy and Python are called: one sentence for each kind.

Exceptions of these libraries say little to somebody who wants to see an image ("list index out of
range"), and change with each version; only what FabIO itself words as a sentence is passed on.
Does not: decide which error class, and so which errno, a failure has (`images/frames`).
"""

import errno
import re
import struct
import zlib

GIVES_UP = "its header or its data are not as its format wants them"

_KINDS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((EOFError, struct.error), "the file ends before its header or its data do"),
    ((zlib.error,), "its packed data are damaged"),
    ((UnicodeError,), "its header holds bytes that are no text"),
    ((OverflowError, RecursionError), "a number in its header is too large"),
)
_BARE = re.compile(  # what only a programmer can read
    r": '[^']*'$|<class|<\w+[ .]\w+|0x[0-9a-f]+|object has no|attribute|argument|operand"
    r"|invalid literal|could not convert|index|unpack|subscript|iterable|NoneType|Traceback"
    r"|unsupported"
    r"|expected str|bytes-like|buffer|reshape|dtype|codec can't|not enough values|np\.|numpy"
    r"|__|\(\)|\w+Error|Errno|backtrace|windows",
    re.IGNORECASE,
)
_FOLDER = re.compile(r"(?<!\w)/(?:[^\s/]+/)+")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_OF_THE_SYSTEM = frozenset(  # errors of a disk or a server; others come of odd numbers in a file
    {errno.EACCES, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOSPC}
    | {errno.ENOTDIR, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT}
)
_LONGEST = 300  # characters of a sentence that comes from elsewhere


def sentence(error: BaseException, heard: tuple[str, ...] = ()) -> str:
    """What to tell of a failure; `heard` is what the library wrote to its log before."""
    for text in (*heard, *_own_words(error)):
        if _is_sentence(text):
            return f"the library says: {_on_one_line(text)}"
    if isinstance(error, OSError) and error.strerror and error.errno in _OF_THE_SYSTEM:
        return f"the system says: {error.strerror}"
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return f"its header lacks {error.args[0]!r}, or gives it a value that is not known"
    number = re.search(r"(?:invalid literal for|could not convert).*?: (.{1,80})\Z", str(error))
    if isinstance(error, ValueError) and number:
        return f"its header has {number[1]} where a number belongs"
    for kinds, text in _KINDS:
        if isinstance(error, kinds):
            return text
    return GIVES_UP


def _own_words(error: BaseException) -> tuple[str, ...]:
    """The text of an exception that FabIO raises itself, of the classes that it uses for that."""
    if type(error) not in (Exception, OSError, RuntimeError) or len(error.args) != 1:
        return ()
    return (str(error.args[0]),)


def _is_sentence(text: str) -> bool:
    return len(_WORDS.findall(text)) >= 3 and not _BARE.search(text)


def _on_one_line(text: str) -> str:
    """Short, and without the folder of the file: the text begins with the file already."""
    return " ".join(_FOLDER.sub("", text).split())[:_LONGEST]
