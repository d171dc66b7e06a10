"""Several data sets as one: each lies in a folder and a layout of its own, and its cities are called `set.city`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.registry import open_layout, read_city_cached
from vprdist.data.places import City
from vprdist.errors import DataError, leading_there, nearest
from vprdist.files import at_home
from vprdist.spec.doors.layout import BETWEEN, LayoutName


class Mixed(Layout):
    """The cities of all sets, each as its own layout answers it.

    Args:
        root: what relative folders of the sets count from.
        sets: by name, `folder` (None: called as the set) and `layout`, as a file writes it.
    """

    def __init__(self, root: Path, sets: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(root)
        self._sets = {
            name: open_layout(root / at_home(each["folder"] or name), LayoutName.model_validate(each["layout"]))
            for name, each in sets.items()
        }

    def names(self) -> list[str]:
        out = []
        for name, each in self._sets.items():
            with leading_there(f"trial.data.layout.sets.{name}"):
                out += [f"{name}{BETWEEN}{city}" for city in each.names()]
        return out

    def read(self, city: str) -> City:
        layout, own = self._of(city)
        found = read_city_cached(layout, own)
        query, database = (replace(side, city=city) for side in found.sides)
        return replace(found, name=city, query=query, database=database)

    def digest(self, city: str) -> str:
        layout, own = self._of(city)
        return layout.digest(own)

    def whole_digest(self, city: str) -> str:
        layout, own = self._of(city)
        return layout.whole_digest(own)

    def check(self, city: City, *, whole: bool = False) -> None:
        layout, own = self._of(city.name)
        layout.check(read_city_cached(layout, own), whole=whole)

    def label_file(self, city: str) -> Path | None:
        layout, own = self._of(city)
        return layout.label_file(own)

    @property
    def folders(self) -> list[Path]:
        return [folder for each in self._sets.values() for folder in each.folders]

    def _of(self, city: str) -> tuple[Layout, str]:
        """The layout of a city's set, and what it is called there.

        Raises:
            DataError: no such set.
        """
        name, dot, own = city.partition(BETWEEN)
        if not dot or name not in self._sets:
            fault = f"a city of mixed data sets must be called set{BETWEEN}city"
            raise DataError(self.root, fault, city, nearest(name, self._sets))
        return self._sets[name], own
