"""Turn the exceptions of FabIO, Pillow, NumPy and Python into sentences for the user.

Their messages say little to somebody who wants to see an image ("list index out of range"), and
change with each version.  Only sentences of FabIO itself are passed on.
Does not: decide the class of the error, and so its errno (`images/frames`).
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
_BARE = re.compile(  # messages that only a programmer understands
    r": '[^']*'$|<class|<\w+[ .]\w+|0x[0-9a-f]+|object has no|attribute|argument|operand"
    r"|invalid literal|could not convert|index|unpack|subscript|iterable|NoneType|Traceback"
    r"|unsupported"
    r"|expected str|bytes-like|buffer|reshape|dtype|codec can't|not enough values|np\.|numpy"
    r"|__|\(\)|\w+Error|Errno|backtrace|windows",
    re.IGNORECASE,
)
_FOLDER = re.compile(r"(?<!\w)/(?:[^\s/]+/)+")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_OF_THE_SYSTEM = frozenset(  # errors of a disk or server; others are caused by numbers in a file
    {errno.EACCES, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOSPC}
    | {errno.ENOTDIR, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT}
)
_LONGEST = 300  # characters of a message of a library


def sentence(error: BaseException, heard: tuple[str, ...] = ()) -> str:
    """The sentence for an exception; `heard` is what the library has written to its log before."""
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
    """The message of an exception that FabIO raises itself, with the classes that it uses for
    this.
    """
    if type(error) not in (Exception, OSError, RuntimeError) or len(error.args) != 1:
        return ()
    return (str(error.args[0]),)


def _is_sentence(text: str) -> bool:
    return len(_WORDS.findall(text)) >= 3 and not _BARE.search(text)


def _on_one_line(text: str) -> str:
    """The message, shortened to one line, without the folder of the file."""
    return " ".join(_FOLDER.sub("", text).split())[:_LONGEST]
