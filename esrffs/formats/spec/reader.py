"""Spec files: recognised by their first lines, read as the tree that silx shows.

`is_spec` says what a file must look like.  The tree of one scan is kept, because programs read a
scan to its end before they go to another one.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from esrffs.encoders import edf
from esrffs.encoders.json_text import to_json
from esrffs.errors import AccessDeniedError, DamagedError, NotFoundError
from esrffs.formats.find_object import find_object
from esrffs.formats.spec.edf_header import edf_header
from esrffs.formats.spec.scan_index import SpecFile
from esrffs.formats.spec.tree import (
    BrokenNode,
    DatasetNode,
    GroupNode,
    LinkNode,
    ScanNode,
    scan_tree,
)
from esrffs.model import (
    Box,
    BrokenInfo,
    ChunkIndex,
    DatasetInfo,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    LinkInfo,
    Member,
    OpaqueLayout,
)

_ASKED = OpaqueLayout()  # one for all: sent once with a listing, not with each of its datasets
_ADDRESS = re.compile(r"(/\d{1,9})+")
_OTHER = (".py", ".md", ".rst", ".sh", ".csv", ".html", ".json", ".toml", ".yml", ".yaml", ".ipynb")
_SCAN = re.compile(rb"#S[ \t]+\d+(\s|$)")
_FILE = re.compile(rb"#F[ \t]+\S")
_CONTROL = re.compile(
    rb"#([CDELNQTMV]([ \t]|$)|U[A-Z0-9]*([ \t]|$)|[OPGoj]\d+([ \t]|$)|@[A-Z]+)|#[JIR]\d*[ \t]",
    re.MULTILINE,
)
_EPOCH = re.compile(rb"#E[ \t]+\d{5,}\s*$")
_DATE = re.compile(rb"#D[ \t]+\w{3}[ \t]+\S+[ \t]")
_POINTS = re.compile(rb"#N[ \t]+\d+$")
_LABELS = re.compile(rb"#L[ \t]+\S")
_MACINTOSH = re.compile(rb"\r+#[A-Z@]")
_NUMBERS = re.compile(rb"[-+.\d][-+.\deE \t]*$")


def is_spec(head: bytes, name: str) -> bool:
    """Is the file with these first bytes (4 KiB, or all of it) Spec, so that `SpecReader` reads it?

    Only blank lines and lines with "#" may come before its first `#S number` or `#F file`, and
    what follows that must look like Spec too: "#S" and "#F" alone are comments in many languages.
    Lines count once they have their end.  Line ends of old Macintoshes are not read.
    """
    if b"\0" in head or name.lower().endswith(_OTHER) or _MACINTOSH.search(head):
        return False
    lines = _lines(head)
    first = next((i for i, line in enumerate(lines) if _starts(line)), len(lines))
    if first == len(lines) or not all(line.startswith(b"#") for line in lines[:first]):
        return False
    after = lines[first + 1 :]
    if not after:
        return any(map(_CONTROL.match, lines[:first]))
    if any(map(_POINTS.match, after)) and any(map(_LABELS.match, after)):
        return True
    if _SCAN.match(lines[first]):
        return bool(_CONTROL.match(after[0]) or _NUMBERS.match(after[0]) or _SCAN.match(after[0]))
    begun = any(_EPOCH.match(line) or _DATE.match(line) or _SCAN.match(line) for line in after)
    return begun and after[0].startswith(b"#")


def is_spec_header(head: bytes) -> bool:
    """May these first bytes of a longer file be a file header that goes on behind them?"""
    return all(line.startswith(b"#") for line in _lines(head))


def _lines(head: bytes) -> list[bytes]:
    """The lines that are complete, but blank ones."""
    lines = (line.rstrip() for line in head.split(b"\n")[:-1])
    return [line for line in lines if line]


def _starts(line: bytes) -> bool:
    return bool(_SCAN.match(line) or _FILE.match(line))


class SpecReader:
    """One open Spec file (`esrffs.model.Reader`).  There are no links out of it to `confine`."""

    def __init__(self, path: str, confine: str | None) -> None:  # noqa: ARG002  # no links
        self._path = path
        with translate_errors():
            self._file = SpecFile(path)
        self._remembered: tuple[int, GroupNode] | None = None

    def __repr__(self) -> str:
        return f"<SpecReader of {self._file!r}>"

    def close(self) -> None:
        self._remembered = None
        self._file.close()

    def listing(self, address: str) -> GroupListing:
        if not address:
            scans = enumerate(self._file.scans)
            groups = tuple(GroupInfo(scan.name, f"/{i}") for i, scan in scans)
            return GroupListing(groups, _text(self._root_attributes()))
        node = self._node(address)
        if not isinstance(node, GroupNode):
            raise NotFoundError(f"{node.name} is not a group")
        members = (_info(member, f"{address}/{i}") for i, member in enumerate(node.members))
        return GroupListing(tuple(members), _text(node.attributes))

    def find(self, path: str) -> GroupInfo | DatasetInfo | JsonInfo:
        return find_object(self.listing, path)

    def read(self, address: str, box: Box) -> npt.NDArray[np.generic]:
        node = self._node(address)
        if not isinstance(node, DatasetNode):
            raise NotFoundError(f"{node.name} is not a dataset")
        with translate_errors():
            return np.array(node.load(box), node.dtype, order="C")

    def attributes(self, address: str) -> bytes:
        if not address:
            return to_json(self._root_attributes())
        node = self._node(address)
        return to_json(node.attributes if isinstance(node, GroupNode | DatasetNode) else {})

    def frame_headers(self, address: str) -> tuple[edf.Header, ...]:
        """One EDF header, of the scan of the object at this address; () where it is too large."""
        if not _ADDRESS.fullmatch(address):
            raise NotFoundError(f"there is no object {address!r}")
        scan = self._node("/" + address.split("/")[1])
        headers = (edf_header(scan),) if isinstance(scan, GroupNode) else ()
        return headers if edf.within_limits(headers) else ()

    def text(self, address: str) -> bytes:
        raise NotFoundError(f"a Spec file has no text datasets: {address}")

    def chunk_index(self, address: str) -> ChunkIndex:
        raise NotFoundError(f"a Spec file has no chunked datasets: {address}")

    def _root_attributes(self) -> dict[str, str]:
        return {
            "NX_class": "NXroot",
            "file_time": datetime.fromtimestamp(self._file.mtime).isoformat(),
            "file_name": self._path,
            "creator": f"silx spech5 {version('silx')}",
        }

    def _node(self, address: str) -> ScanNode:
        """An address is the position of each group among its siblings: "/scan/2/0"."""
        if not _ADDRESS.fullmatch(address):
            raise NotFoundError(f"there is no object {address!r}")
        scan, *steps = (int(step) for step in address[1:].split("/"))
        try:
            node: ScanNode = self._tree(scan)
            for step in steps:
                node = (node.members if isinstance(node, GroupNode) else ())[step]
        except IndexError:
            raise NotFoundError(f"there is no object {address!r}") from None
        return node

    def _tree(self, index: int) -> GroupNode:
        if self._remembered is None or self._remembered[0] != index:
            scan = self._file.scans[index]
            with translate_errors(f"scan {scan.name}: "):
                self._remembered = index, scan_tree(self._file, scan)
        return self._remembered[1]


def _text(attributes: Mapping[str, str]) -> JsonText | None:
    return JsonText.of(to_json(attributes)) if attributes else None


def _info(node: ScanNode, address: str) -> Member:
    match node:
        case GroupNode():
            return GroupInfo(node.name, address)
        case DatasetNode():
            attributes = _text(node.attributes)
            return DatasetInfo(
                node.name, address, node.shape, node.dtype, _ASKED, attributes, label=node.label
            )
        case LinkNode():
            return LinkInfo(node.name, node.path, kind=node.kind)
        case BrokenNode():
            return BrokenInfo(node.name, node.reason)


@contextmanager
def translate_errors(where: str = "") -> Iterator[None]:
    """What goes wrong with the file, as failures of ours that say where."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(os.strerror(error.errno or 0)) from error
    except PermissionError as error:
        raise AccessDeniedError(os.strerror(error.errno or 0)) from error
    except OSError as error:
        raise DamagedError(f"{where}{error.strerror or error}") from error
    except DamagedError as error:
        raise DamagedError(f"{where}{error}") from error
