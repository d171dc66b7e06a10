"""The paper's layout: `<city>/<side>/<key>/<class>.png`, one 8-bit grey PNG a class, at full size.

Blanks in names are spelled with an underscore: `traffic_light.png`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vprdist.data.images import open_picture
from vprdist.errors import CacheError, first_line
from vprdist.files import digest_json
from vprdist.semantics.masks import Activations
from vprdist.spec.base import Names
from vprdist.spec.class_table import CITYSCAPES, ClassTable, table_of
from vprdist.spec.names import is_name
from vprdist.spec.vocabulary import CLASSES, SIDES, Grid

AGAIN = "Copy or export it again."
MOST_BYTES = 255
"""A file system's name has no more."""


def png_files(classes: Sequence[str]) -> Names:
    """The names of an image's PNGs, one a class.

    Raises:
        CacheError: a class whose name is no file's, or two of one file.
    """
    files = tuple(f"{name.replace(' ', '_')}.png" for name in classes)
    remedy = "Use .npz files: they hold any names."
    for name, file in zip(classes, files, strict=True):
        if not is_name(file) or len(file.encode()) > MOST_BYTES:
            raise CacheError("classes", "a PNG cannot be called by this class", name, remedy)
        if files.count(file) > 1:
            raise CacheError("classes", f"the classes must have a PNG each; two would have {file}", name, remedy)
    return files


FILES = png_files(CLASSES)
"""Those of the 19."""


class PngSource:
    """A small file for each class of an image; read one image at a time.

    Args:
        table: the classes; None: the 19.
    """

    def __init__(self, path: Path, table: ClassTable | None = None) -> None:
        self.path, self.table = path, table or table_of(CITYSCAPES)
        self.files = png_files(self.table.classes)

    def has(self, city: str) -> bool:
        return any((self.path / city / side).is_dir() for side in SIDES)

    def size(self, city: str, side: str, keys: Sequence[str]) -> tuple[int, int]:
        """Half the size of the first image's PNGs.

        Networks answer at a quarter of the picture's size or less, and the PNGs hold that enlarged: half
        keeps every edge that the network drew, in a quarter of the bytes.
        """
        height, width = self._plane(self.path / city / side / keys[0] / self.files[0]).shape
        return max(1, height // 2), max(1, width // 2)

    def classes(self, city: str, side: str) -> Names:
        """The table's."""
        return self.table.classes

    def grid(self, city: str, side: str) -> Grid:
        """Pixels are cells."""
        return "cells"

    def fingerprint(self, city: str, side: str, keys: Sequence[str]) -> str:
        """From the sizes of the files. Finding them all here also stops a gap before anything is written."""
        sizes = [self._sizes(self.path / city / side / key) for key in keys]
        return digest_json(["png", list(keys), sizes])

    def read(self, city: str, side: str, keys: Sequence[str]) -> Iterator[tuple[str, Activations]]:
        for key in keys:
            folder = self.path / city / side / key
            planes = [self._plane(folder / file) for file in self.files]
            for file, plane in zip(self.files, planes, strict=True):
                if plane.shape != planes[0].shape:
                    fault = f"the PNGs of an image must have one size; {self.files[0]} has {planes[0].shape}"
                    raise CacheError(folder / file, fault, plane.shape, AGAIN)
            yield key, np.stack(planes)

    def _sizes(self, folder: Path) -> list[int]:
        try:
            with os.scandir(folder) as entries:
                found = {entry.name: entry.stat().st_size for entry in entries}
        except OSError:
            raise CacheError(
                folder, "no such folder; the source must have one for every key", None, "Add the image."
            ) from None
        for file in self.files:
            if file not in found:
                raise CacheError(
                    folder / file,
                    f"no such file; an image needs a PNG for each of {self.table.words}",
                    None,
                    AGAIN,
                )
        return [found[file] for file in self.files]

    def _plane(self, path: Path) -> Activations:
        try:
            with open_picture(path) as image:
                if image.mode != "L":
                    raise CacheError(path, "the PNG must be 8-bit grey (mode L)", f"mode {image.mode}", AGAIN)
                return np.asarray(image)
        except FileNotFoundError:
            raise CacheError(
                path, f"no such file; an image needs a PNG for each of {self.table.words}", None, AGAIN
            ) from None
        except CacheError:
            raise
        except Exception as error:  # Pillow has many words for a broken picture
            raise CacheError(path, "the PNG cannot be read whole", first_line(error), AGAIN) from None
