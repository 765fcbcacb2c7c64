"""What is wrong with the data of a filter, as a sentence.

Decided here: which words of a decoder are passed on.  Those of zlib, bzip2 and zstd say what they
found; other libraries give a number, or the name of a C function, and Python's own exceptions are
about its own calls.
"""

import re
import struct
import zlib


class FilterDataError(ValueError):
    """A chunk is not what it claims to be; the text says how, as what stands in parentheses."""


_QUOTED = re.compile(r"returned (['\"])(.+)\1")  # imagecodecs, where the C library has words
_WORDS = re.compile(r"[A-Za-z][a-z]+(?: [a-z/-]+)+\Z")


def damage(name: str, error: BaseException | str) -> str:
    """The sentence for this failure of the filter of this name."""
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
