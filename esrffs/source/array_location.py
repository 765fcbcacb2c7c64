"""Where the values of a dataset are found."""

from dataclasses import dataclass

from esrffs.model import DatasetInfo, Generation
from esrffs.source.data_file import DataFile


@dataclass(frozen=True, slots=True)
class ArrayLocation:
    """An array of frames; `index` is the frame in it that a part counts from.

    `state` is that of the other files on which its values depend, as it was located.
    """

    source: DataFile
    info: DatasetInfo
    index: int = 0
    state: bytes = b""

    @property
    def file(self) -> tuple[str, Generation]:
        """The file that holds it, of a series the one of this frame."""
        subject = self.source.subject
        at = self.index if subject.series else 0
        return subject.paths[at], subject.generations[at]

    @property
    def key(self) -> bytes:
        """What the values depend on."""
        if self.source.subject.series:
            return repr(self.file).encode()
        return (
            self.source.version + self.state + self.info.address.encode("utf-8", "surrogateescape")
        )
