"""A file that knows its size before it is read: where it stands, for what reads it as a stream.

Does not: have bytes.  A subclass has `size` (bytes) and `readinto`.
"""

import io


class SizedFile(io.RawIOBase):
    """The position in a file of `size` bytes; it may lie behind the end, as in any file."""

    size: int
    _position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(start + offset, 0)
        return self._position
