"""The file of the index: what one mount learnt about a file server, for the next mount.

Keys and values are bytes.  The file is a SQLite database in a folder that nobody else can enter;
where that is not so, there is no index.  Several mounts may use it at the same time.  A damaged
file is replaced, a damaged value is no value (each has a digest).  The file has a limit, at which
what was used longest ago is dropped.  Does not: know what keys and values mean (`index`).

Synchronous, and may wait for the disk of the cache folder.
"""

import contextlib
import logging
import os
import pwd
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from esrffs.errors import OwnMountError
from esrffs.linux import path_walk

log = logging.getLogger(__name__)

FOLDER = "esrffs"
NAME = "index-1.sqlite"  # the number is that of the format
MAX_NBYTES = 128 << 20  # bytes of the file
_PAGE_NBYTES = 4096
_WAIT_SECONDS = 2.0  # for another mount that writes
_AT_ONCE = 500  # keys of one question
_REFRESH_SECONDS = 86_400  # an entry that is used is marked as used once a day
_DIGEST_NBYTES = 16
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TABLE = """
    CREATE TABLE IF NOT EXISTS entries (
        key BLOB PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL, used INTEGER NOT NULL
    )
"""


_SELECT = "SELECT key, value, digest, used FROM entries WHERE key IN "


class IndexUnusableError(Exception):
    """There is no index: its folder or file is not ours alone, or cannot be used."""


def cache_home(environment: Mapping[str, str]) -> str:
    """The folder for caches of the user: `$XDG_CACHE_HOME`, else `~/.cache`.

    Root's home is that of the account: `$HOME` may still be the home of the user who ran sudo.
    """
    told = environment.get("XDG_CACHE_HOME", "")
    if os.path.isabs(told):
        return told
    home = environment.get("HOME", "") if os.geteuid() else ""
    if not os.path.isabs(home):
        home = pwd.getpwuid(os.geteuid()).pw_dir
    return os.path.join(home, ".cache")


def open_folder(home: str) -> int:
    """A descriptor of the folder of the index, which is made if need be; IndexUnusableError."""
    try:
        home = path_walk.resolve(os.path.abspath(home))
        os.makedirs(home, 0o700, exist_ok=True)
        parent = path_walk.open_file(home, _OPEN_FOLDER)
    except (OSError, OwnMountError) as error:
        raise IndexUnusableError(f"{home}: {error}") from error
    try:
        if os.fstat(parent).st_uid != os.geteuid():
            raise IndexUnusableError(f"{home} belongs to another user")
        with contextlib.suppress(FileExistsError):
            os.mkdir(FOLDER, 0o700, dir_fd=parent)
        folder = os.open(FOLDER, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        raise IndexUnusableError(f"{home}/{FOLDER}: {error.strerror}") from error
    finally:
        os.close(parent)
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(folder)
        raise IndexUnusableError(f"{home}/{FOLDER} is not a folder that only you can enter")
    return folder


class IndexFile:
    """The entries of the index in this cache folder; IndexUnusableError where there can be none."""

    def __init__(self, home: str, limit: int = MAX_NBYTES) -> None:
        self.path = os.path.join(home, FOLDER, NAME)
        self._limit = limit
        self._folder = open_folder(home)
        self._stale: list[bytes] = []  # keys that were used after a long time
        try:
            self._connection = self._open()
        except BaseException:
            os.close(self._folder)
            raise

    def __repr__(self) -> str:
        return f"<IndexFile {self.path}>"

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of these keys, as far as there are any."""
        found: dict[bytes, bytes] = {}
        with self._errors():
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                rows = self._connection.execute(_SELECT + _marks(len(some)), some)
                found.update(self._sound(rows))
        return found

    def _sound(self, rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[bytes, bytes]]:
        old = time.time() - _REFRESH_SECONDS
        for key, value, digest, used in rows:
            if isinstance(key, bytes) and isinstance(value, bytes) and isinstance(used, int):
                if used < old:
                    self._stale.append(key)
                if digest == _digest(key, value):
                    yield key, value

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep these values; what was used longest ago makes place."""
        now = int(time.time())
        rows = [(key, value, _digest(key, value), now) for key, value in entries.items()]
        used = [(now, key) for key in self._stale]
        self._stale.clear()
        with self._errors():
            try:
                self._write(rows, used)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                self._make_room()
                self._write(rows, [])

    def _write(
        self, rows: Sequence[tuple[bytes, bytes, bytes, int]], used: Sequence[tuple[int, bytes]]
    ) -> None:
        with self._connection as transaction:
            transaction.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
            transaction.executemany("UPDATE entries SET used = ? WHERE key = ?", used)

    def _make_room(self) -> None:
        """Drop the half that was used longest ago."""
        with self._connection as transaction:
            transaction.execute(
                "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries"
                " ORDER BY used, rowid LIMIT (SELECT count(*) / 2 + 1 FROM entries))"
            )

    def count(self) -> int:
        """How many entries there are."""
        with self._errors():
            rows = self._connection.execute("SELECT count(*) FROM entries").fetchall()
            return int(rows[0][0])
        return 0

    def close(self) -> None:
        self._connection.close()
        os.close(self._folder)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """A file that is damaged is replaced; another mount that writes for long is no error."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
                return
            if code not in _DAMAGE:
                raise IndexUnusableError(f"{self.path}: {error}") from error
            self._connection.close()
            self._remove()
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
                raise IndexUnusableError(f"{self.path}: {error}") from error
        self._remove()
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            raise IndexUnusableError(f"{self.path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        self._check_file()
        connection = sqlite3.connect(
            f"/proc/self/fd/{self._folder}/{NAME}",
            timeout=_WAIT_SECONDS,
            check_same_thread=False,
        )
        try:
            for setting in (
                "trusted_schema = OFF",
                "cell_size_check = ON",
                "synchronous = OFF",  # what is lost with the power is learnt again
                f"page_size = {_PAGE_NBYTES}",
                f"max_page_count = {max(self._limit // _PAGE_NBYTES, 8)}",
            ):
                connection.execute(f"PRAGMA {setting}")
            with connection as transaction:
                transaction.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_file(self) -> None:
        """Make the file, if it is not there; IndexUnusableError where it is not ours alone."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(NAME, flags, 0o600, dir_fd=self._folder)
        except OSError as error:
            raise IndexUnusableError(f"{self.path}: {error.strerror}") from error
        status = os.fstat(descriptor)
        os.close(descriptor)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            raise IndexUnusableError(f"{self.path} is not a file of yours")

    def _remove(self) -> None:
        log.warning("%s: the index was damaged, and begins anew", self.path)
        for name in (NAME, NAME + "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)


_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _marks(count: int) -> str:
    """Places for this many parameters of a statement."""
    return f"({','.join('?' * count)})"


def _digest(key: bytes, value: bytes) -> bytes:
    """Tells a value from what damage, or a mixture with another file, made of it."""
    return blake2b(value, key=key[:64], digest_size=_DIGEST_NBYTES).digest()
