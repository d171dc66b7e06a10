"""`index.json` in a sweep's folder: what was told of finished trials, so that a sweep of thousands is told at once.

It is a copy that may be lost at any time. Beside what is told of a trial stands a stamp of all files that it was read
from: size, both times and inode of each. Whoever asks looks at every file again, and reads the trial itself where the
stamp differs: nothing here is taken against the folders. A file that is missing, damaged, of another version, or
written by two at once costs the time of reading, and no more.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from vprdist.errors import UserError
from vprdist.files import MASK, MOST_JSON, publish, read_bytes
from vprdist.store.trial_folder import TrialFolder

Told = TypeVar("Told")

SETTLED_NS = 3 * 10**9
"""A file that was written to within this time may be written to again under the same stamp: clocks tick coarsely."""
NO_FILE = b"no file"


@dataclass(frozen=True)
class Stamp:
    """A trial's files as they are at one moment.

    Attributes:
        mark: a digest of what the system says of each; no file is opened.
        earlier: starts of attempts that were given up, by name, which count too.
        newest_ns: the latest time of any of them, Unix time in ns.
    """

    mark: str
    earlier: tuple[str, ...]
    newest_ns: int

    @property
    def is_settled(self) -> bool:
        """Whether another write would change the stamp."""
        return time.time_ns() - self.newest_ns > SETTLED_NS


def stamp_of(folder: TrialFolder, earlier: Sequence[str] | None = None) -> Stamp:
    """The stamp of a finished trial.

    Args:
        earlier: as an earlier stamp has them: a further one would have changed that of the folder of logs; None: they
            are looked for.
    """
    if earlier is None:
        earlier = sorted(path.name for path in folder.earlier_starts())
    log = str(folder.log)
    own = (folder.result_file, folder.job_file, folder.metrics_file, folder.starts_file)
    found, newest = hashlib.blake2b(digest_size=16), 0
    for path in (*map(str, own), log, *(f"{log}/{name}" for name in earlier)):
        try:
            told = os.stat(path)  # noqa: PTH116 (thousands of them)
        except OSError:
            found.update(NO_FILE)
            continue
        times = told.st_mtime_ns & MASK, told.st_ctime_ns & MASK
        newest = max(newest, *times)
        found.update(struct.pack("<QQQQ", told.st_size, *times, told.st_ino & MASK))
    return Stamp(found.hexdigest(), tuple(earlier), newest)


class Index(Generic[Told]):
    """What was told of finished trials, by their ids.

    Args:
        folder: the sweep's.
        shape: the dataclass of what is told.
        told_as: what else it depends on: other words, and nothing is known.
        code: folders and files of the package whose text tells it: another text may tell something else.
    """

    def __init__(self, folder: Path, shape: type[Told], told_as: str, code: Sequence[Path]) -> None:
        self._path = folder / "index.json"
        self._head = f"{_digest_of(tuple(code))} {told_as}"
        self._form = TypeAdapter(dict[str, tuple[str, tuple[str, ...], shape]])  # type: ignore[valid-type]
        self._known: dict[str, tuple[str, tuple[str, ...], Told]] = self._read()
        self._kept: dict[str, tuple[str, tuple[str, ...], Told]] = {}
        self._is_new = False

    def told(self, folder: TrialFolder) -> Told | None:
        """What was told of the trial; None: read it."""
        entry = self._known.get(folder.trial_id)
        if entry is None or stamp_of(folder, entry[1]).mark != entry[0]:
            return None
        self._kept[folder.trial_id] = entry
        return entry[2]

    def keep(self, folder: TrialFolder, stamp: Stamp, value: Told) -> None:
        """Remember what is told of a finished trial.

        Args:
            stamp: taken before the trial was read: what was written meanwhile is then told by the next one.
        """
        if stamp.is_settled:
            self._kept[folder.trial_id] = stamp.mark, stamp.earlier, value
            self._is_new = True

    def write(self, least: int) -> None:
        """Publish what is told now, without what is gone, where there is news of it.

        A folder that cannot be written to stays as it is. Where two write at once either has looked at the folders.

        Args:
            least: trials; fewer are read as quickly.
        """
        if len(self._kept) < least or not (self._is_new or len(self._kept) < len(self._known)):
            return
        body = self._form.dump_json(self._kept)
        with contextlib.suppress(OSError, UserError), publish(self._path, rights=0o644) as stream:
            stream.write(b"\n".join((self._head.encode(), _checksum(body), body, b"")))

    def _read(self) -> dict[str, tuple[str, tuple[str, ...], Told]]:
        """What the file says, where it is whole and was written under this head."""
        try:
            head, checksum, body = read_bytes(self._path, MOST_JSON).split(b"\n")[:3]
            if head == self._head.encode() and checksum == _checksum(body):
                return self._form.validate_json(body)
        except (OSError, ValueError):
            pass
        return {}


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


@functools.cache
def _digest_of(code: tuple[Path, ...]) -> str:
    """16 hex digits of the text of these files, and of all modules in these folders."""
    found = hashlib.sha256()
    for path in sorted(file for each in code for file in (each.glob("*.py") if each.is_dir() else (each,))):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
