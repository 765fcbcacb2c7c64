"""The image of a group of any reader: what its listings show, written as HDF5.

Texts and small arrays are written into the structure, other numbers are runs.  Attributes come from
their JSON.  Links are written anew, because the group is the root of the image.  `silx convert`
gives the same datasets of a Spec file or an image.
"""

import json
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from esrffs.errors import EsrffsError, NotFoundError
from esrffs.formats import budget
from esrffs.formats.hdf5.image import (
    Attributes,
    BrokenPart,
    DescribedDataset,
    DescribedGroup,
    DescribedLink,
    Hdf5Image,
    ImageLimits,
    ImageTooLargeError,
)
from esrffs.formats.hdf5.image_copying import broken, spoils_all
from esrffs.formats.hdf5.image_described import image_of_description
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS
from esrffs.model import (
    Box,
    BrokenInfo,
    DatasetInfo,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    LinkInfo,
    Member,
    OpaqueLayout,
    Reader,
)

_SMALL = 1 << 12  # bytes of an array that is read at once, …
_SMALL_SHARE = 2  # … while all such arrays are at most one half of what may be made
Described = DescribedGroup | DescribedDataset | DescribedLink


def reader_image(reader: Reader, address: str = "", limits: ImageLimits | None = None) -> Hdf5Image:
    """An HDF5 file of what is in the group; ImageTooLargeError."""
    limits = ImageLimits() if limits is None else limits
    try:
        return _image(reader, address, limits, limits.nbytes // _SMALL_SHARE)
    except ImageTooLargeError:  # perhaps for the small arrays that need not be in it
        return _image(reader, address, limits, 0)


def _image(reader: Reader, address: str, limits: ImageLimits, small: int) -> Hdf5Image:
    root, lost = described(reader, address, limits, small)
    image = image_of_description(root, limits, address)
    return Hdf5Image(image.nbytes, image.literals, image.runs, (*lost, *image.broken))


def described(
    reader: Reader, address: str, limits: ImageLimits, small: int = 0
) -> tuple[DescribedGroup, list[BrokenPart]]:
    """The group with all below it, and what of it is broken.

    `small`: bytes of small arrays whose values are read at once.
    """
    walk = _Walk(reader, limits, address, small)
    return walk.root(), walk.broken


class _Walk:
    """One walk through a group and all below it.

    First the listings, depth first, each with the values that stand in the structure: a reader of
    Spec files remembers one scan, and would go through each scan's text again for them.  Then the
    description, from the leaves up.
    """

    def __init__(self, reader: Reader, limits: ImageLimits, address: str, small: int) -> None:
        self._reader, self._limits, self._address = reader, limits, address
        self._most_small = small
        self._listings: dict[str, GroupListing] = {}
        self._prefetched: dict[str, GroupListing] = {}
        self._order: list[tuple[str, str, str]] = []  # name, address, path of groups as met
        self._steps = _steps_to(reader, address)
        self._nbytes = self._small = 0
        self._values: dict[str, npt.NDArray[np.generic] | EsrffsError] = {}  # by address
        self.broken: list[BrokenPart] = []

    def root(self) -> DescribedGroup:
        self._list()
        made: dict[str, DescribedGroup] = {}
        for name, address, path in reversed(self._order):
            listing = self._listings[address]
            members = list(self._members(listing, path, made))
            attributes = self._attributes(listing.attributes, address, path)
            made[address] = DescribedGroup(name, tuple(members), attributes)
        return made[self._address]

    def _list(self) -> None:
        count = 0
        todo = [("", self._address, "")]
        while todo:
            name, address, path = todo.pop()
            if address in self._listings:
                continue
            budget.check("its groups")
            try:
                listing = self._listings[address] = self._known(address)
            except (EsrffsError, *H5PY_EXCEPTIONS) as error:
                if spoils_all(error) or address == self._address:
                    raise
                self.broken.append(broken(path, error))
                continue
            if listing.end:
                self.broken.append(BrokenPart(path or "/", listing.end))
            self._order.append((name, address, path))
            count += len(listing.members)
            self._limits.check_objects(self._address, count)
            self._read_values(listing)
            todo += [
                (member.name, member.address, f"{path}/{member.name}")
                for member in reversed(listing.members)
                if isinstance(member, GroupInfo)
            ]

    def _known(self, address: str) -> GroupListing:
        listing = self._prefetched.pop(address, None) or self._reader.listing(address)
        self._prefetched |= listing.prefetched
        return listing

    def _members(
        self, listing: GroupListing, path: str, made: dict[str, DescribedGroup]
    ) -> Iterator[Described]:
        met: set[str] = set()
        for member in listing.members:
            where = f"{path}/{member.name}"
            try:
                if isinstance(member, BrokenInfo):
                    lost = BrokenPart(where, member.reason, member.forbidden, member.errno)
                    self.broken.append(lost)
                    continue
                one = self._member(member, where, made)
            except (EsrffsError, *H5PY_EXCEPTIONS) as error:
                if spoils_all(error):
                    raise
                self.broken.append(broken(where, error))
                continue
            if one is not None:
                yield _named_anew(one, met)

    def _member(
        self, member: Member, where: str, made: dict[str, DescribedGroup]
    ) -> Described | None:
        match member:
            case GroupInfo():
                return made.get(member.address)  # None: broken, and told already
            case LinkInfo():
                return DescribedLink(member.name, self._target(member.path))
            case JsonInfo():
                return self._text(member, where)
            case DatasetInfo():
                attributes = self._attributes(member.attributes, member.address, where)
                values = self._values.pop(member.address, None)
                if isinstance(values, EsrffsError):
                    raise values
                what = (member.name, member.address, member.shape, member.dtype)
                return DescribedDataset(*what, attributes, values)
        return None

    def _read_values(self, listing: GroupListing) -> None:
        """Keep the values of these arrays that stand in the structure, or why there are none."""
        for member in listing.members:
            if isinstance(member, DatasetInfo):
                try:
                    values = self._values_of(member)
                except EsrffsError as error:
                    if spoils_all(error):
                        raise
                    self._values[member.address] = error
                else:
                    if values is not None:
                        self._values[member.address] = values

    def _values_of(self, info: DatasetInfo) -> npt.NDArray[np.generic] | None:
        """Those of texts, and of small arrays, each of which would be asked for by itself."""
        count = math.prod(info.shape)
        nbytes = count * info.dtype.itemsize
        text = info.dtype.kind == "U"
        small = (
            isinstance(info.layout, OpaqueLayout)
            and nbytes <= _SMALL
            and self._small + nbytes <= self._most_small
        )
        if not text and not small:
            return None
        budget.check("its texts")
        if not count:
            return np.zeros(info.shape, info.dtype)
        self._limits.check_nbytes(self._address, self._nbytes + count * 16 * text)
        try:
            values = self._reader.read(info.address, Box((0,) * len(info.shape), info.shape))
        except EsrffsError as error:
            if text or spoils_all(error):
                raise
            return None  # it will say so when it is read
        if text:
            self._nbytes += nbytes // 4
            self._limits.check_nbytes(self._address, self._nbytes)
        else:
            self._small += nbytes
        return values

    def _text(self, info: JsonInfo, where: str) -> DescribedDataset:
        self._nbytes += info.content.size
        self._limits.check_nbytes(self._address, self._nbytes)
        content = info.content.content or self._reader.text(info.address)
        text = np.array(content.decode("utf-8", "surrogateescape"))
        attributes = self._attributes(info.attributes, info.address, where)
        return DescribedDataset(info.name, info.address, (), text.dtype, attributes, text)

    def _attributes(self, text: JsonText | None, address: str, where: str) -> Attributes:
        if text is None:
            return {}
        self._nbytes += text.size
        self._limits.check_nbytes(self._address, self._nbytes)
        try:
            content = text.content or self._reader.attributes(address)
            told: Attributes = json.loads(content)
        except (EsrffsError, *H5PY_EXCEPTIONS) as error:
            if spoils_all(error):
                raise
            self.broken.append(broken(f"{where or '/'}@*", error))
            return {}
        return told

    def _target(self, path: str) -> str:
        """The path of a link in the new file, whose root is the group."""
        if not path.startswith("/"):
            return path
        steps = [step for step in path.split("/") if step not in ("", ".")]
        if steps[: len(self._steps)] != self._steps:
            return path
        return "/" + "/".join(steps[len(self._steps) :])


def _steps_to(reader: Reader, address: str) -> list[str]:
    """The names from the root to the group at this address."""
    steps: list[str] = []
    here = ""
    while here != address:
        for member in reader.listing(here).members:
            below = isinstance(member, GroupInfo) and f"{address}/".startswith(f"{member.address}/")
            if isinstance(member, GroupInfo) and below:
                steps.append(member.name)
                here = member.address
                break
        else:
            raise NotFoundError(f"there is no group at {address}")
    return steps


def _named_anew(one: Described, met: set[str]) -> Described:
    """With a name that HDF5 takes, and that no other has: as in the mount, later ones get `~1`."""
    name = plain = one.name.replace("/", "%").replace("\0", "%00") or "%"
    if name == ".":
        name = plain = "%2E"
    number = 0
    while name in met:
        number += 1
        name = f"{plain}~{number}"
    met.add(name)
    if name == one.name:
        return one
    match one:
        case DescribedGroup():
            return DescribedGroup(name, one.members, one.attributes)
        case DescribedLink():
            return DescribedLink(name, one.path)
        case DescribedDataset():
            what = (name, one.address, one.shape, one.dtype)
            return DescribedDataset(*what, one.attributes, one.values)
