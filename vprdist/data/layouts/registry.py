"""The one way to cities: a folder and the choice of its layout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.less import LessLayout, read_names
from vprdist.data.layouts.own import OwnLayout
from vprdist.data.places import City
from vprdist.errors import DataError
from vprdist.files import digest_json
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import MSLS, LayoutName
from vprdist.spec.doors.layout import MIXED
from vprdist.spec.named import load_built_in
from vprdist.spec.own_code import own_file


def open_layout(root: Path, choice: LayoutName = MSLS, leave_out: str | Sequence[str] = ()) -> Layout:
    """The folder of a data set, to be asked for its cities. One object for each folder and choice in a process.

    Args:
        leave_out: names of pictures that take no part, or a file with one a line (see `less`).

    Raises:
        DataError: a user's layout that cannot be made, or a list of names that cannot be read.
        OwnCodeError: its file cannot be loaded, or is another than when the trial was submitted.
    """
    return _opened(root, choice.model_dump_json(), read_names(leave_out))


def recognised(root: Path) -> tuple[LayoutName, str]:
    """The built-in layout of a folder whose choice nobody named, and what speaks for it.

    Raises:
        DataError: none fits, or more than one does.
    """
    if not root.is_dir():
        raise DataError(root, "there is no such folder", None, "Name the one that holds the pictures and their tables.")
    doors = LayoutName.door.built_in
    found = {word: told for word, each in doors.items() if (told := load_built_in(each).evidence(root))}
    if len(found) == 1:
        ((word, why),) = found.items()
        return LayoutName.of(word), why
    words = " or ".join(found or (word for word in doors if word != MIXED))
    remedy = f"Name one: --layout {words}, or a class of your own: --layout path/file.py:Name."
    if not found:
        raise DataError(root, "no layout is recognised in this folder", None, remedy)
    told = "; ".join(f"{word}: {why}" for word, why in found.items())
    raise DataError(root, "two layouts may be meant in this folder, and one must be named", told, remedy)


def layout_of(data: DataSpec) -> Layout:
    """That of a trial's data, whose root is a folder; see `open_layout`."""
    return open_layout(Path(data.root), data.layout, data.leave_out)


@lru_cache(maxsize=64)
def _opened(root: Path, choice: str, left_out: tuple[str, ...] = ()) -> Layout:
    if left_out:
        return LessLayout(_opened(root, choice), left_out)
    named = LayoutName.model_validate_json(choice)
    if not named.is_own:
        layout: Layout = named.make(root=root)
        return layout
    return OwnLayout(root, lambda: named.make(root=root), own_file(named.name))


@lru_cache(maxsize=64)
def read_city_cached(layout: Layout, city: str) -> City:
    """`layout.read`, once a process."""
    return layout.read(city)


# Once a process: a digest lists every folder of pictures, and a sweep asks for the same cities again and again.
@lru_cache(maxsize=256)
def city_digest_cached(layout: Layout, city: str) -> str:
    """`layout.digest`, once a process."""
    return layout.digest(city)


@lru_cache(maxsize=256)
def whole_digest_cached(layout: Layout, city: str) -> str:
    """`layout.whole_digest`, once a process."""
    return layout.whole_digest(city)


def dataset_digest(data: DataSpec, cities: Sequence[str]) -> str:
    """16 hex digits for a set of cities; their order does not matter."""
    layout = layout_of(data)
    return digest_json({city: city_digest_cached(layout, city) for city in sorted(cities)})
