"""A data set in a form of its own, and the file with which a user lets it in."""

from __future__ import annotations

import shutil
from pathlib import Path

from vprdist.data.layouts.msls import city_names, read_city
from vprdist.spec.data import DataSpec

WALK = '''"""Pictures named <key>@<easting>@<northing>@<heading>.jpg, in <city>/<side>/."""

from pathlib import Path

import numpy as np

from vprdist.data.layouts import City, Layout, Side


class Walk(Layout):
    def __init__(self, root: Path, step_m: float = 1.0) -> None:
        super().__init__(root)
        self.step_m = step_m

    def names(self) -> list[str]:
        return [path.name for path in self.root.iterdir() if path.is_dir()]

    def read(self, city: str) -> City:
        return City(name=city, query=self._side(city, "query"), database=self._side(city, "database"))

    def _side(self, city: str, side: str) -> Side:
        paths = sorted((self.root / city / side).glob("*.jpg"))
        key, *numbers = zip(*(path.stem.split("@") for path in paths))
        easting, northing, ca = (self.step_m * np.array(values, float) for values in numbers)
        return Side.of(city=city, side=side, paths=paths, keys=key, easting=easting, northing=northing, ca=ca)
'''


def write_walk(tree: Path, out: Path) -> Path:
    """The pictures of an MSLS tree, with what is known of them in their names."""
    for name in city_names(tree):
        for side in read_city(tree, name).sides:
            (out / name / side.side).mkdir(parents=True)
            assert side.ca is not None
            for row, ((easting, northing), ca) in enumerate(
                zip(side.positions.tolist(), side.ca.tolist(), strict=True)
            ):
                to = out / name / side.side / f"{side.keys[row]}@{easting!r}@{northing!r}@{ca!r}.jpg"
                shutil.copy(side.image_path(row), to)
    return out


def own_file(folder: Path, text: str = WALK) -> Path:
    """The user's file."""
    path = folder / "walk_layout.py"
    path.write_text(text)
    return path


def walk_data(tree: Path, folder: Path, **more: object) -> DataSpec:
    """The same places as a tree of `ada` and `bob`, through the user's layout."""
    root, file = write_walk(tree, folder / "walk"), own_file(folder)
    values = {"root": str(root), "layout": f"{file}:Walk", "train": ("ada",), "validate_cities": ("bob",), **more}
    return DataSpec.model_validate(values)
