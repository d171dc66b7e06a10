"""What every layout is: given a folder, it answers cities."""

from __future__ import annotations

import abc
import hashlib
from pathlib import Path

import numpy as np

from vprdist.data.pictures import check_images, check_whole, picture_sizes
from vprdist.data.places import City, Side

COLUMNS = ("ca", "easting", "northing", "pano", "night", "frame_number")
TEXTS = ("keys", "view_direction", "sequence_key")


class Layout(abc.ABC):
    """How the pictures of a data set lie in a folder, and what is known of each.

    A layout of your own needs `names` and `read`; `Side.of` fills in what nobody knows. Its parameters are those of
    its `__init__`, which gets `root` beside them. Nothing of it may load torch: it is read on login nodes.

    Args:
        root: the folder of the data.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def evidence(cls, root: Path) -> str:
        """What in a folder speaks for this layout, in words; "" where nothing does. It looks at few names alone."""
        return ""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """The cities that the folder holds, at least one.

        Raises:
            DataError: there is none.
        """

    @abc.abstractmethod
    def read(self, city: str) -> City:
        """One of them; no picture is opened.

        Raises:
            DataError: there is no such city, or what describes it is broken.
        """

    def digest(self, city: str) -> str:
        """16 hex digits over what the city is: its columns, and its pictures' names and sizes; never the pixels.

        Raises:
            DataError: as `read`, or a folder of pictures that cannot be listed.
        """
        return content_digest(self.read(city), self.root)

    def whole_digest(self, city: str) -> str:
        """`digest` of the city with all its pictures, also where some are left out: what caches are made for."""
        return self.digest(city)

    def check(self, city: City, *, whole: bool = False) -> None:
        """Look whether every picture of a city is there.

        Args:
            whole: and whether none of them is cut: each is opened, which takes long on shared storage.

        Raises:
            DataError: the first that is not.
        """
        for side in city.sides:
            (check_whole if whole else check_images)(side)

    @property
    def folders(self) -> list[Path]:
        """Where its pictures lie: what compute nodes must see."""
        return [self.root]

    def label_file(self, city: str) -> Path | None:
        """Where the official graded labels of a city would lie; None where there can be none."""
        return None


def content_digest(city: City, root: Path) -> str:
    """16 hex digits: equal for equal columns and pictures of equal names (below `root`) and sizes."""
    digest = hashlib.sha256()
    for side in city.sides:
        _add(digest, f"{side.side} {len(side)}", b"")
        for name in TEXTS:
            _add(digest, name, "\0".join(getattr(side, name).tolist()).encode())
        for name in COLUMNS:
            if (values := getattr(side, name)) is not None:
                _add(digest, name, np.ascontiguousarray(values).tobytes())
        for name, flags in sorted(side.subtasks.items()):
            _add(digest, f"subtask {name}", flags.tobytes())
        if (side.conditions != "").any():  # a column added later keeps the digests of before
            _add(digest, "conditions", "\0".join(side.conditions.tolist()).encode())
        _add(digest, "pictures", _pictures(side, root).encode())
    if city.truth is not None:
        _add(digest, "truth rows", city.truth.positives.indptr.astype(np.int64).tobytes())
        _add(digest, "truth", city.truth.positives.indices.astype(np.int64).tobytes())
        if (alike := city.truth.similarity) is not None:
            for name, values in (("rows", alike.indptr), ("columns", alike.indices), ("values", alike.data)):
                _add(digest, f"similarity {name}", values.astype(np.float64).tobytes())
    return digest.hexdigest()[:16]


def _pictures(side: Side, root: Path) -> str:
    sizes = picture_sizes(side.paths).tolist()
    names = (path.relative_to(root) if path.is_relative_to(root) else path.name for path in side.paths)
    return "".join(f"{name}\0{size}\n" for name, size in zip(names, sizes, strict=True))


def _add(digest: hashlib._Hash, name: str, data: bytes) -> None:
    digest.update(f"{name}\0{len(data)}\0".encode() + data)
