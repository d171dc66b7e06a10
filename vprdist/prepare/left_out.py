"""Which pictures of a trial's cities take no part: decided once, by name, before anything is submitted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vprdist.console import Bar
from vprdist.data.layouts import Layout, city_digest_cached, layout_of, open_layout, read_city_cached
from vprdist.data.layouts.less import name_of, names_in, read_names
from vprdist.data.pictures import absent, faults, turned_pictures
from vprdist.errors import DataError, nearest
from vprdist.files import read_json, write_json, write_text
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import TrialSpec


def find_broken(trials: Iterable[TrialSpec], checked: Path, bar: Bar) -> None:
    """Open every picture of the cities whose broken ones are to be left out, once for each state of a city.

    Args:
        trials: their roots are absolute.
        checked: a folder for what was found.

    Raises:
        DataError: a city that cannot be read.
    """
    todo: dict[Path, tuple[Layout, str]] = {}
    for trial in trials:
        if trial.data.broken == "leave_out":
            whole = open_layout(Path(trial.data.root), trial.data.layout)
            todo |= {_kept(whole, name, checked): (whole, name) for name in trial.cities}
    todo = {path: at for path, at in todo.items() if not path.exists()}
    if not todo:
        return
    total = sum(len(side) for layout, name in todo.values() for side in read_city_cached(layout, name).sides)
    with bar("looking for broken pictures") as advance:
        done = 0

        def looked() -> None:
            nonlocal done
            done += 1
            advance(done, total)

        for path, (layout, name) in todo.items():
            sides = read_city_cached(layout, name).sides
            found = {name_of(side, fault.row): fault.what for side in sides for fault in faults(side, looked)}
            write_json(path, {"root": str(layout.root), "city": name, "broken": found})


def without_left_out(trial: TrialSpec, checked: Path) -> TrialSpec:
    """The trial with the names of all pictures that it leaves out. Jobs then need no list and look for nothing.

    Where nobody has looked for broken pictures yet, the missing and empty ones alone are known.

    Raises:
        DataError: a list that cannot be read, or a name of no picture of a city that it names.
    """
    data = trial.data
    if (not data.leave_out and data.broken == "refuse") or not Path(data.root).exists():
        return trial
    names, whole = read_names(data.leave_out), open_layout(Path(data.root), data.layout)
    found: set[str] = set()
    for name in trial.cities:
        city = read_city_cached(whole, name)
        found |= set(names_in(city, frozenset(names)))
        known = {form for side in city.sides for key in side.keys.tolist() for form in (key, f"{side.side}/{key}")}
        _check_names(names, name, known, data)
        if data.broken == "leave_out":
            found |= set(_broken(whole, name, checked))
    return trial.model_copy(update={"data": data.model_copy(update={"leave_out": tuple(sorted(found))})})


def mark_whole(trial: TrialSpec, checked: Path) -> tuple[str, ...]:
    """What is left of cities whose broken pictures were found is whole, and need not be opened for that again.

    Returns:
        What `turned_pictures` says of cities that had no mark.
    """
    if trial.data.broken == "refuse":
        return ()
    layout, facts = layout_of(trial.data), list[str]()
    for name in trial.cities:
        mark = whole_mark(checked, layout, name)
        if not mark.exists():
            facts += turned_pictures(read_city_cached(layout, name))
            write_text(mark, f"{layout.root} {name}: every picture is whole\n")
    return tuple(facts)


def whole_mark(checked: Path, layout: Layout, name: str) -> Path:
    """The file that says that the pictures of a city were looked at. Marks without the ending are of computation 1, and
    say less."""
    return checked / f"{city_digest_cached(layout, name)}.whole"


def was_opened(trial: TrialSpec, checked: Path) -> bool:
    """Whether all that will be left out of a trial is known."""
    if trial.data.broken == "refuse":
        return True
    whole = open_layout(Path(trial.data.root), trial.data.layout)
    return all(_kept(whole, name, checked).exists() for name in trial.cities)


def _kept(whole: Layout, name: str, checked: Path) -> Path:
    return checked / f"{city_digest_cached(whole, name)}.json"


def _broken(whole: Layout, name: str, checked: Path) -> list[str]:
    try:
        return list(read_json(_kept(whole, name, checked))["broken"])
    except FileNotFoundError:
        sides = read_city_cached(whole, name).sides
        return [name_of(side, fault.row) for side in sides for fault in absent(side)]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        path = _kept(whole, name, checked)
        raise DataError(path, "what was found of a city's pictures cannot be read", str(error), "Delete it.") from None


def _check_names(names: Iterable[str], city: str, keys: set[str], data: DataSpec) -> None:
    """A name that names its city is of a picture of it: a misspelt key or side would leave nothing out."""
    for name in names:
        first, _, rest = name.partition("/")
        if first == city and rest and rest not in keys:
            where = data.leave_out if isinstance(data.leave_out, str) else "trial.data.leave_out"
            raise DataError(where, f"{city} has no such picture", name, nearest(rest, sorted(keys)[:20]))
