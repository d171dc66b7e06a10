"""The paper's layout: `<city>/<side>/<key>/<class>.png`, one 8-bit grey PNG a class, at full size.

Two-word classes are spelled with an underscore: `traffic_light.png`.
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
from vprdist.spec.vocabulary import CLASSES, SIDES, Grid

FILES = tuple(f"{name.replace(' ', '_')}.png" for name in CLASSES)
AGAIN = "Copy or export it again."


class PngSource:
    """Nineteen small files an image; read one image at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, city: str) -> bool:
        return any((self.path / city / side).is_dir() for side in SIDES)

    def size(self, city: str, side: str, keys: Sequence[str]) -> tuple[int, int]:
        """Half the size of the first image's PNGs.

        Networks answer at a quarter of the picture's size or less, and the PNGs hold that enlarged: half
        keeps every edge that the network drew, in a quarter of the bytes.
        """
        height, width = self._plane(self.path / city / side / keys[0] / FILES[0]).shape
        return max(1, height // 2), max(1, width // 2)

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
            planes = [self._plane(folder / file) for file in FILES]
            for file, plane in zip(FILES, planes, strict=True):
                if plane.shape != planes[0].shape:
                    fault = f"the PNGs of an image must have one size; {FILES[0]} has {planes[0].shape}"
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
        for file in FILES:
            if file not in found:
                raise CacheError(
                    folder / file, "no such file; an image needs a PNG for each of the 19 classes", None, AGAIN
                )
        return [found[file] for file in FILES]

    def _plane(self, path: Path) -> Activations:
        try:
            with open_picture(path) as image:
                if image.mode != "L":
                    raise CacheError(path, "the PNG must be 8-bit grey (mode L)", f"mode {image.mode}", AGAIN)
                return np.asarray(image)
        except FileNotFoundError:
            raise CacheError(
                path, "no such file; an image needs a PNG for each of the 19 classes", None, AGAIN
            ) from None
        except CacheError:
            raise
        except Exception as error:  # Pillow has many words for a broken picture
            raise CacheError(path, "the PNG cannot be read whole", first_line(error), AGAIN) from None
