"""The labels of a city: its graded similarity, from the official file or computed, and kept for the next job.

Computing a large city takes minutes, and so does reading its dense label file; a sweep's jobs would do it again and
again. So the sparse matrix is kept in `<root>/vprdist_labels/`, or in the run folder where the root cannot be written
to. The name of a file holds a digest of all that its content depends on: it is never out of date, only unused.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, vstack

from vprdist.arrays import read_npz
from vprdist.data.layouts import layout_of
from vprdist.data.official import FOV, official_blocks, official_digest
from vprdist.data.places import Bools, City
from vprdist.data.similarity import similarity_blocks
from vprdist.errors import DataError, first_line
from vprdist.files import digest_json, hold_for_making, publish
from vprdist.spec.data import DataSpec
from vprdist.spec.vocabulary import OFFICIAL_VIEW

Say = Callable[[str], None]
ALGORITHM = 1
"""Raised by whoever changes what is computed: labels kept before are then unused."""


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
    return exists and made_for and spec.labels != "computed"


def labels_digest(spec: DataSpec) -> str | None:
    """What the official labels of the training cities are, by content; None where all labels are computed.

    Raises:
        DataError: a label file that must be there is missing, or one cannot be read.
    """
    layout = layout_of(spec)
    files = {name: layout.label_file(name) for name in spec.train}
    found = {name: official_digest(path) for name, path in files.items() if is_official(path, spec) and path}
    return digest_json(found) if found else None


def label_blocks(city: City, spec: DataSpec, labels: str = FOV) -> Iterator[csr_matrix]:
    """The similarity of a city's pairs, float32 rows in order, some queries at a time; nothing is kept.

    Args:
        labels: the dataset of the label file, where there is one: what the loss learns from.

    Raises:
        DataError: a label file that cannot be used, or neither one nor the compass angles to compute labels from.
    """
    if is_official(city.label_file, spec):
        return official_blocks(city, labels)
    query, database = city.query, city.database
    without_angles(city)
    return similarity_blocks(
        query.positions, query.headings, database.positions, database.headings, spec.fov_radius_m, spec.fov_degrees
    )


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
            remedy = f"Choose another city, or put its official labels at {city.label_file}."
            raise DataError(side.where("ca"), fault, found, remedy if city.label_file else "Choose another city.")
        if count := int((lacking & ~side.pano).sum()):
            facts.append(f"{count} of {len(side)} {side.side} images of {city.name} have no compass angle (-1 or nan): "
                         "they take no part in training on computed labels")  # fmt: skip
    return tuple(facts)


def trained_on(city: City, spec: DataSpec) -> tuple[Bools, Bools]:
    """Which queries and which database images training may draw: no panoramas, and none that labels cannot be
    computed of."""
    query, database = (
        ~side.pano & (is_official(city.label_file, spec) | ~np.isnan(side.headings)) for side in city.sides
    )
    return query, database


def read_labels(city: City, spec: DataSpec, runs: Path, say: Say, labels: str = FOV) -> csr_matrix:
    """(N, M) similarity of a training city, float32, query x database rows; absent entries are 0.

    The first who asks makes it, others wait for that. Where nothing can be kept, everybody makes it.

    Args:
        runs: the run folder, for where the root cannot be written to.
        say: told when something is made, and where it is kept.

    Raises:
        DataError: a label file that cannot be used.
    """
    name = f"{city.name}-{_content_digest(city, spec, labels)}.npz"
    shape = (len(city.query), len(city.database))
    places = (Path(spec.root) / "vprdist_labels" / name, runs / "data" / "labels" / name)
    for place in places:
        if (kept := _read(place, shape, say)) is not None:
            return kept
    with contextlib.ExitStack() as stack:
        ours = next((place for place in places if hold_for_making(stack, place)), None)
        # Somebody may have made them meanwhile. What cannot be used was said above.
        if ours is not None and (kept := _read(ours, shape, lambda message: None)) is not None:
            return kept
        source = "reading the official labels" if is_official(city.label_file, spec) else "computing the labels"
        where = (
            f"kept in {ours}" if ours else f"NOT kept: neither {places[0].parent} nor {places[1].parent} can be locked"
        )
        say(f"{source} of {city.name}; they are {where}")
        made = vstack(list(label_blocks(city, spec, labels)), format="csr")
        if ours is not None:
            _write(ours, made, say)
    return made


def _content_digest(city: City, spec: DataSpec, labels: str) -> str:
    """16 hex digits over what the labels are made from: much less than what a city is."""
    if is_official(city.label_file, spec) and city.label_file:
        what = ["official", labels, official_digest(city.label_file)]
        kept = [None if side.rows is None else side.rows.tolist() for side in city.sides]
        return digest_json(what if kept == [None, None] else [*what, kept])
    without_angles(city)
    digest = hashlib.sha256(f"computed {ALGORITHM} {spec.fov_radius_m!r} {spec.fov_degrees!r}".encode())
    for side in city.sides:
        digest.update(f" {len(side)} ".encode() + side.positions.tobytes() + side.headings.tobytes())
    return digest.hexdigest()[:16]


def _read(place: Path, shape: tuple[int, int], say: Say) -> csr_matrix | None:
    """What is kept there; None where nothing is, or nothing that can be used, which is said."""
    try:
        data, indices, indptr = (read_npz(place, name) for name in ("data", "indices", "indptr"))
        kept = csr_matrix((data, indices, indptr), shape=shape)
        kept.check_format(full_check=True)
        if kept.dtype != np.float32:
            raise ValueError(f"its values are {kept.dtype}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # what scipy has to say of its parts, too
        say(f"{place}: kept labels cannot be used and are made again ({first_line(error)})")
        return None
    return kept


def _write(place: Path, made: csr_matrix, say: Say) -> None:
    try:
        with publish(place) as stream:
            np.savez(stream, data=made.data, indices=made.indices, indptr=made.indptr)
    except OSError as error:
        say(f"{place}: the labels could not be kept ({error.strerror})")
