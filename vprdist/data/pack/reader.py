"""A pack, asked for pictures by their side and row."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.data.pack.format import MANIFEST, Manifest, read_manifest
from vprdist.data.pack.shard import MappedShard, rows_of
from vprdist.data.places import Side
from vprdist.errors import DataError
from vprdist.files import at_home, file_stamp
from vprdist.spec.computation import FIRST

Places = npt.NDArray[np.int64]
MAX_SIDES = 256
"""Sides of which it is remembered where their pictures stand."""


class Pack:
    """Pictures by city, side and row.

    It pickles as its folder and manifest: each process maps the shards that it reads itself, and the kernel's page
    cache shares their bytes between all processes of a machine.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._shards: dict[tuple[str, str], list[MappedShard]] = {}
        self._places: dict[tuple[str, str, int], tuple[object, Places]] = {}  # a side may have been read several times

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def covers(self, city_digests: Mapping[str, str]) -> None:
        """Those of these cities that the pack holds are as they were when it was made, and it holds one of them.

        Args:
            city_digests: `Layout.whole_digest` by city.

        Raises:
            DataError: a city has changed since, or they are of another data set.
        """
        held = self.manifest.cities
        if not held.keys() & city_digests.keys():
            fault = f"a pack must hold one of the cities that are read, {', '.join(city_digests)}"
            remedy = "Name the pack of this data set, or leave out trial.data.pack."
            raise DataError(self.path, fault, ", ".join(held), remedy)
        for city, digest in city_digests.items():
            if held.get(city, digest) != digest:
                fault = (
                    f"the pack must be of {city} as it is now, {digest}; it was made before a change, or of other data"
                )
                remedy = "Run `vprdist data pack` again, with the same folders. Or leave out trial.data.pack."
                raise DataError(self.path, fault, held[city], remedy)

    def serves(self, image_size: tuple[int, int], computation: int) -> bool:
        """Whether pictures of this size can be had from it; from the bytes of files they can at any."""
        of = self.manifest
        return of.image_size is None or (
            of.image_size == image_size and (of.computation == FIRST) == (computation == FIRST)
        )

    def shards(self, city: str, side: str) -> list[MappedShard]:
        """The shards of a side, opened when they are first asked for; none of a city that it does not hold.

        Raises:
            DataError: one of them is missing, cut or changed.
        """
        if (city, side) not in self._shards:
            size = self.manifest.image_size
            each = None if size is None else 3 * size[0] * size[1]
            of_side = self.manifest.of_side(city, side)
            self._shards[city, side] = [MappedShard(self.path, entry, each) for entry in of_side]
        return self._shards[city, side]

    def places(self, side: Side) -> Places:
        """(N,) where each picture of a side stands in the pack's, -1 where it is not there. Errors as `shards`."""
        name = (side.city, side.side, id(side.keys))
        known = self._places.get(name)
        if known is None or known[0] is not side.keys:
            keys = np.array(rows_of(self.shards(side.city, side.side)), dtype=np.str_)
            known = self._places[name] = (side.keys, _places(keys, side.keys))
            if len(self._places) > MAX_SIDES:
                del self._places[next(iter(self._places))]
        return known[1]

    def picture(self, side: Side, row: int) -> memoryview | None:
        """What is kept of a picture, not to be written to; None where it is not there.

        Raises:
            DataError: the disk changed it, or as `shards`.
        """
        place = int(self.places(side)[row])
        if place < 0:
            return None
        shards = self.shards(side.city, side.side)
        shard = shards[bisect.bisect_right(shards, place, key=lambda each: each.entry.first) - 1]
        return shard.picture(place - shard.entry.first)


def _places(keys: npt.NDArray[np.str_], wanted: npt.NDArray[np.str_]) -> Places:
    """Where each wanted key stands among the keys, -1 where it does not."""
    if len(keys) == len(wanted) and np.array_equal(keys, wanted):
        return np.arange(len(keys))
    if not len(keys):
        return np.full(len(wanted), -1)
    order = np.argsort(keys, kind="stable")
    found = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    return np.where(keys[found] == wanted, found, -1)


def open_pack(path: str | Path) -> Pack:
    """The pack of a folder; the same object in a process until its manifest is written anew.

    Raises:
        DataError: no pack lies there, or its manifest breaks its own rules.
    """
    folder = at_home(path)
    try:
        stamp = file_stamp((folder / MANIFEST).stat())
    except OSError:
        stamp = 0  # `read_manifest` says what is wrong
    return _opened(folder, stamp)


@lru_cache(maxsize=8)
def _opened(folder: Path, stamp: int) -> Pack:
    return Pack(folder, read_manifest(folder))
