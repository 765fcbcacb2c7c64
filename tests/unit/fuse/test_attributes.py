"""Owner and mode as the mount options have them."""

import stat

from esrffs.fuse.attributes import AttributeOptions
from esrffs.tree.nodes import Stat


def shown(mode: int, **options: int) -> str:
    status = Stat(mode, 1, 2, 3, 4, 5, 6)
    return stat.filemode(AttributeOptions(**options).apply(status).mode)


def test_masks() -> None:
    assert shown(stat.S_IFREG | 0o640) == "-rw-r-----"
    assert shown(stat.S_IFREG | 0o600, fmask=0o022) == "-rw-r--r--"
    assert shown(stat.S_IFREG | 0o700, fmask=0o007) == "-rwxrw----"
    assert shown(stat.S_IFREG | 0o600, dmask=0o077) == "-rw-------"
    assert shown(stat.S_IFDIR | 0o700, dmask=0o027) == "drwxr-x---"
    assert shown(stat.S_IFDIR | 0o700, fmask=0o027) == "drwx------"
    assert shown(stat.S_IFLNK | 0o777, fmask=0o777, dmask=0o777) == "lrwxrwxrwx"
