"""Pictures that were resized for one job, kept in the run folder for the next ones.

A file of pixels and its list, for as many pictures as a rank decoded; written once, whole, and only read afterwards.
A picture of the store counts while its own file has the size and the time of change that it had. Kept is what had to be
resized: a picture that has the wanted size already is decoded about as fast as the larger bytes are read.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from vprdist.data.images import upright_size
from vprdist.errors import DataError, UserError
from vprdist.files import locked, publish, write_text
from vprdist.spec.computation import FIRST
from vprdist.spec.trial import TrialSpec

Say = Callable[[str], None]
PIXELS, LIST = ".pixels", ".json"


class StoredPicture(BaseModel):
    """One picture: where it came from, its file's bytes and time of change then, and a checksum of its pixels."""

    path: str
    bytes: int
    changed_ns: int
    crc32: int


class _List(BaseModel):
    pictures: list[StoredPicture]


class PictureStore:
    """Resized pictures of one size, shared by ranks and jobs. Any of its files may be deleted at any time.

    Args:
        runs: the run folder.
        computation: how pictures were decoded.
        limit_bytes: it takes no more pixels than these, over all sizes.
        say: told what was kept, and why nothing can be.
    """

    def __init__(
        self, runs: Path, image_size: tuple[int, int], computation: int, limit_bytes: int, say: Say
    ) -> None:  # fmt: skip
        self.image_size, self.limit_bytes, self.say = image_size, limit_bytes, say
        self.root = runs / "data" / "resized"
        self.folder = self.root / f"{image_size[0]}x{image_size[1]}-{computation}"
        self.picture_bytes = 3 * image_size[0] * image_size[1]
        self._places: dict[str, tuple[Path, int, StoredPicture]] = {}
        self._read: set[Path] = set()
        self._open: dict[Path, int] = {}
        self._begin_ns = time.time_ns()
        self.refresh()

    def __contains__(self, path: Path) -> bool:
        found = self._places.get(str(path))
        try:
            return found is not None and _state(path) == (found[2].bytes, found[2].changed_ns)
        except OSError:
            return False

    def refresh(self) -> None:
        """Read the lists that are new."""
        for file in sorted(set(self.folder.glob(f"*{LIST}")) - self._read):
            self._read.add(file)
            pixels = file.with_suffix(PIXELS)
            if not pixels.exists():
                continue
            with contextlib.suppress(OSError, ValidationError):  # spoilt: its pictures are decoded
                pictures = _List.model_validate_json(file.read_bytes()).pictures
                for index, picture in enumerate(pictures):
                    if Path(picture.path) not in self:
                        self._places[picture.path] = (pixels, index, picture)

    def load(self, path: Path) -> Tensor | None:
        """(H, W, 3) uint8; None where it is not kept, has changed since, or cannot be read."""
        found = self._places.get(str(path))
        if found is None:
            return None
        pixels, index, picture = found
        out = bytearray(self.picture_bytes)
        try:
            if _state(path) != (picture.bytes, picture.changed_ns):
                return None
            if pixels not in self._open:
                self._open[pixels] = os.open(pixels, os.O_RDONLY)
            os.preadv(self._open[pixels], [out], index * self.picture_bytes)
        except OSError:
            return None
        if zlib.crc32(out) != picture.crc32:
            return None
        return torch.frombuffer(out, dtype=torch.uint8).view(*self.image_size, 3)

    def add(self, paths: Sequence[Path], pixels_of: Callable[[int], Tensor]) -> None:
        """Keep what nobody kept before, as far as there is room; what cannot be written is said, and nothing is lost.

        Args:
            pixels_of: (H, W, 3) uint8 of each of the paths.
        """
        new = [i for i, path in enumerate(paths) if path not in self and self._is_wanted(path)]
        if not new:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.root / "lock"):
                self.refresh()  # others may have kept the same ones meanwhile
                new = [i for i in new if paths[i] not in self]
                held = sum(file.stat().st_size for file in self.root.glob(f"*/*{PIXELS}"))
                room = max(0, (self.limit_bytes - held) // self.picture_bytes)
                self._write([(paths[i], pixels_of(i)) for i in new[:room]])
        except (OSError, UserError) as error:
            why = error.strerror if isinstance(error, OSError) else error.fault
            self.say(f"{self.folder}: resized pictures could not be kept for other jobs ({why})")
            return
        full = f"; {len(new) - room} more find no room (run.store_gb)" if room < len(new) else ""
        size = f"{(held + min(room, len(new)) * self.picture_bytes) / 1e9:.2f} GB of at most {self.limit_bytes / 1e9:g}"
        self.say(f"{self.root}: {min(room, len(new))} resized pictures are kept for other jobs ({size}){full}")

    def _is_wanted(self, path: Path) -> bool:
        """Whether a picture was resized, and is still the one that was decoded."""
        try:
            return upright_size(path) != self.image_size and _state(path)[1] < self._begin_ns
        except (OSError, DataError):
            return False

    def _write(self, pictures: Sequence[tuple[Path, Tensor]]) -> None:
        if not pictures:
            return
        listed = []
        name = self.folder / uuid.uuid4().hex[:12]
        with publish(name.with_suffix(PIXELS)) as stream:
            for path, pixels in pictures:
                data, (size, changed_ns) = pixels.contiguous().numpy().tobytes(), _state(path)
                stream.write(data)
                crc = zlib.crc32(data)
                listed.append(StoredPicture(path=str(path), bytes=size, changed_ns=changed_ns, crc32=crc))
        write_text(name.with_suffix(LIST), _List(pictures=listed).model_dump_json())
        self.refresh()


def store_of(trial: TrialSpec, image_size: tuple[int, int], runs: Path, say: Say) -> PictureStore | None:
    """Where a trial's pictures may be kept for other jobs; None where they are not to be.

    Pictures of the first computation never were: they are decoded as fast as its jobs expect.
    """
    if not trial.run.store_gb or trial.computation == FIRST:
        return None
    return PictureStore(runs, image_size, trial.computation, int(trial.run.store_gb * 1e9), say)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
