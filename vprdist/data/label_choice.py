"""Which labels a training city takes: official ones, computed of positions and compass angles, of distance alone, or
its own truth.

`labels: auto` takes official ones where they are, computed ones where both sides have compass angles, else those of
distance: without a compass no direction is made up. A city without positions that knows its positives takes these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vprdist.data.layouts import layout_of, read_city_cached
from vprdist.data.official import official_digest
from vprdist.data.places import Bools, City, Side
from vprdist.errors import DataError
from vprdist.files import digest_json
from vprdist.spec.data import DataSpec
from vprdist.spec.vocabulary import OFFICIAL_VIEW

LabelKind = Literal["official", "computed", "distance", "truth"]


def is_official(path: Path | None, spec: DataSpec) -> bool:
    """Whether the labels of a training city are the official ones of its label file (see `DataSpec.labels`).

    Raises:
        DataError: they must be, and the city has none.
    """
    exists = path is not None and path.exists()
    if spec.labels == "official" and not exists:
        remedy = "Put the file there, or set trial.data.labels: auto."
        raise DataError(path or spec.root, "with `labels: official` a training city needs a label file", None, remedy)
    made_for = (spec.fov_radius_m, spec.fov_degrees) == OFFICIAL_VIEW
    return exists and made_for and spec.labels in ("auto", "official")


def label_kind(city: City, spec: DataSpec) -> LabelKind:
    """What the labels of a training city are.

    Raises:
        DataError: they must be official, the city's truth, or of positions, and the city has none.
    """
    if is_official(city.label_file, spec):
        return "official"
    placed = all(side.easting is not None for side in city.sides)
    if city.truth is None and spec.labels == "truth":
        fault = "with `labels: truth` a training city must know its positives by itself"
        remedy = "Set trial.data.labels: auto; layouts of frames and places know them."
        raise DataError(city.folder, fault, f"positions of {city.name} alone", remedy)
    if city.truth is not None and (spec.labels == "truth" or (spec.labels == "auto" and not placed)):
        return "truth"
    if city.truth is not None and not placed:
        fault = f"with `labels: {spec.labels}` a training city needs positions"
        raise DataError(city.folder, fault, None, "Set trial.data.labels: truth, or delete the key.")
    if spec.labels == "distance" or spec.fov_degrees == 360:
        return "distance"
    return "distance" if spec.labels == "auto" and _sides_without(city) else "computed"


def labels_digest(spec: DataSpec, cities: Sequence[City] = ()) -> str | None:
    """What the labels of the training cities are that their tables and the field of view do not say: official ones by
    content, and which cities take distance alone or their truth ("distance", "truth" where all do); None where all
    labels are computed of compass angles. What a truth is, the data set's digest says.

    Args:
        cities: those of them that were read already.

    Raises:
        DataError: a label file that must be there is missing, or one cannot be read.
    """
    layout, there, found = layout_of(spec), {city.name: city for city in cities}, dict[str, str]()
    for name in spec.train:
        path = layout.label_file(name)
        if is_official(path, spec) and path:
            found[name] = official_digest(path)
        elif (kind := label_kind(there.get(name) or read_city_cached(layout, name), spec)) in ("distance", "truth"):
            found[name] = kind
    for kind in ("distance", "truth"):
        if found and all(found.get(name) == kind for name in spec.train):
            return kind  # a word, which reports show where rows differ in it
    return digest_json(found) if found else None


def taken_labels(cities: Sequence[City], spec: DataSpec) -> tuple[str, ...]:
    """What `labels: auto` took of each city, in one sentence; nothing where a person chose."""
    if spec.labels != "auto":
        return ()
    kinds: dict[LabelKind, list[str]] = {"official": [], "computed": [], "distance": [], "truth": []}
    for city in cities:
        kind = label_kind(city, spec)
        why = _without_words(city) if kind == "distance" else _truth_words(city) if kind == "truth" else ""
        kinds[kind].append(f"{city.name} ({why})" if why else city.name)
    parts = [f"{kind} for {', '.join(names)}" for kind, names in kinds.items() if names]
    return (f"labels: auto takes {'; '.join(parts)}",)


def fallen_back(cities: Sequence[City], spec: DataSpec) -> tuple[str, ...]:
    """What a result should say where `labels: auto` found no official labels or no compass angles."""
    if spec.labels != "auto":
        return ()
    kinds = {city.name: label_kind(city, spec) for city in cities}
    notices = [
        f"labels of {city.name} are of distance alone: {why}"
        for city in cities
        if kinds[city.name] == "distance" and (why := _without_words(city))
    ]
    computed = [name for name, kind in kinds.items() if kind == "computed"]
    if computed and "official" in kinds.values():
        names = ", ".join(computed)
        notices.append(f"no official labels of {names}: computed, beside official ones of other cities")
    return tuple(notices)


def angle_facts(city: City, spec: DataSpec) -> tuple[str, ...]:
    """What a person should know of a training city's compass angles; nothing where its labels need none.

    Raises:
        DataError: they need some, and a side has none.
    """
    return (*without_angles(city), *equal_angles(city)) if label_kind(city, spec) == "computed" else ()


def without_angles(city: City) -> tuple[str, ...]:
    """What a person should know of pictures without a compass angle in a city whose labels are computed: they take no
    part in training.

    Raises:
        DataError: a side has no angle at all.
    """
    facts = []
    for side in city.sides:
        lacking = np.isnan(side.headings)
        if lacking.all():
            fault = "training on computed labels needs compass angles (ca)"
            found = None if side.ca is None else f"{side.ca[0]:g} for every picture of {city.name}/{side.side}"
            remedy = "Set trial.data.labels: distance, or choose another city"
            put = f", or put its official labels at {city.label_file}" if city.label_file else ""
            raise DataError(side.where("ca"), fault, found, f"{remedy}{put}.")
        if count := int((lacking & ~side.pano).sum()):
            facts.append(f"{count} of {len(side)} {side.side} images of {city.name} have no compass angle (-1 or nan): "
                         "they take no part in training on computed labels")  # fmt: skip
    return tuple(facts)


def equal_angles(city: City) -> tuple[str, ...]:
    """What a person should know of a city whose compass angles are all one number, on both sides: more often a column
    that somebody filled in than a measurement. Two pictures tell nothing."""
    angles = np.concatenate([side.headings for side in city.sides])
    angles = angles[~np.isnan(angles)] % 360
    if len(angles) <= 2 or (angles != angles[0]).any():
        return ()
    said = (
        f"every compass angle of {city.name} is {angles[0]:g}: labels computed from it know how far pictures are "
        "apart, and not which way they look; if nobody measured it, set trial.data.labels: distance"
    )
    return (said,)


def trained_on(city: City, spec: DataSpec) -> tuple[Bools, Bools]:
    """Which queries and which database images training may draw: no panoramas, and none that labels cannot be
    computed of."""
    needs_angles = label_kind(city, spec) == "computed"
    query, database = (~side.pano & ~(needs_angles & np.isnan(side.headings)) for side in city.sides)
    return query, database


def _sides_without(city: City) -> list[Side]:
    """The sides of which no picture has a compass angle."""
    return [side for side in city.sides if np.isnan(side.headings).all()]


def _truth_words(city: City) -> str:
    """What a truth without positions says."""
    if city.truth is None:
        return ""
    graded = "yes or no" if city.truth.similarity is None else "graded"
    return f"no positions; {graded}, {city.truth.told}"


def _without_words(city: City) -> str:
    without = [side.side for side in _sides_without(city)]
    which = "" if len(without) == len(city.sides) else f"{without[0]} " if without else ""
    return f"no {which}image has a compass angle" if without else ""
