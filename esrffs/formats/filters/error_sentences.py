"""Turn the exceptions of decoders into sentences for the user.

Messages of zlib, bzip2 and zstd say what is wrong and are passed on.  Other libraries give only a
number or the name of a C function, and the messages of Python's own exceptions are about Python;
these are replaced.
"""

import re
import struct
import zlib


class FilterDataError(ValueError):
    """A chunk is damaged; the text is what stands in the parentheses of `damage`."""


_QUOTED = re.compile(r"returned (['\"])(.+)\1")  # imagecodecs quotes the message of a C library
_WORDS = re.compile(r"[A-Za-z][a-z]+(?: [a-z/-]+)+\Z")


def damage(name: str, error: BaseException | str) -> str:
    """The sentence for this error of the filter called `name`."""
    why = error if isinstance(error, str) else _reason(name, error)
    return f"its {name} data are damaged ({why})"


def _reason(name: str, error: BaseException) -> str:
    text = str(error)
    if isinstance(error, FilterDataError):
        return text
    if isinstance(error, struct.error | EOFError | IndexError):
        return "they end too early"
    if isinstance(error, zlib.error):
        text = text.partition(" data: ")[2]
    quoted = _QUOTED.search(text)
    if quoted:
        text = quoted[2]
    elif isinstance(error, RuntimeError):
        text = ""
    if _WORDS.match(text.replace(" -- ", " ").replace("'", "")):
        return text[0].lower() + text[1:]
    return f"{name} cannot unpack them"
