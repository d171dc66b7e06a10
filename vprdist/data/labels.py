"""The labels of a city: its graded similarity, from the official file or computed, and kept for the next job.

What they are, `label_choice` decides.

Computing a large city takes minutes, and so does reading its dense label file; a sweep's jobs would do it again and
again. So the sparse matrix is kept in `<root>/vprdist_labels/`, or in the run folder where the root cannot be written
to. The name of a file holds a digest of all that its content depends on: it is never out of date, only unused.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vprdist.arrays import read_npz
from vprdist.data.label_choice import LabelKind, label_kind, without_angles
from vprdist.data.official import FOV, official_blocks, official_digest
from vprdist.data.places import City
from vprdist.data.similarity import Block, joined, similarity_blocks
from vprdist.errors import first_line
from vprdist.files import digest_json, hold_for_making, publish
from vprdist.spec.data import DataSpec

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SOURCES: dict[LabelKind, str] = {
    "official": "reading the official labels",
    "computed": "computing the labels",
    "distance": "computing the labels by distance alone",
}
Say = Callable[[str], None]
ALGORITHM = 1
"""Raised by whoever changes what is computed: labels kept before are then unused."""


def label_blocks(city: City, spec: DataSpec, labels: str = FOV) -> Iterator[csr_matrix]:
    """As `label_rows`, each block as scipy has it."""
    return (block.matrix if isinstance(block, Block) else block for block in label_rows(city, spec, labels))


def label_rows(city: City, spec: DataSpec, labels: str = FOV) -> Iterator[Block | csr_matrix]:
    """The similarity of a city's pairs, float32 rows in order, some queries at a time; nothing is kept.

    Args:
        labels: the dataset of the label file, where there is one: what the loss learns from.

    Raises:
        DataError: a label file that cannot be used, or neither one nor the compass angles to compute labels from.
    """
    kind = label_kind(city, spec)
    if kind == "official":
        return official_blocks(city, labels)
    if kind == "truth":
        return iter([_of_truth(city)])
    query, database = city.query, city.database
    if kind == "distance":
        still = [np.zeros(len(side)) for side in city.sides]
        return similarity_blocks(query.positions, still[0], database.positions, still[1], spec.fov_radius_m, 360)
    without_angles(city)
    return similarity_blocks(
        query.positions, query.headings, database.positions, database.headings, spec.fov_radius_m, spec.fov_degrees
    )


def _of_truth(city: City) -> csr_matrix:
    """(N, M) float32: the graded similarity that a city knows, or 1 for each of its positives."""
    from scipy.sparse import csr_matrix

    assert city.truth is not None
    found = city.truth.positives if city.truth.similarity is None else city.truth.similarity
    return csr_matrix(found, dtype=np.float32)


def read_labels(city: City, spec: DataSpec, runs: Path, say: Say, labels: str = FOV) -> csr_matrix:
    """(N, M) similarity of a training city, float32, query x database rows; absent entries are 0.

    The first who asks makes it, others wait for that. Where nothing can be kept, everybody makes it.

    Args:
        runs: the run folder, for where the root cannot be written to.
        say: told when something is made, and where it is kept.

    Raises:
        DataError: a label file that cannot be used.
    """
    if label_kind(city, spec) == "truth":
        return _of_truth(city)  # it is there already
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
        source = SOURCES[label_kind(city, spec)]
        where = (
            f"kept in {ours}" if ours else f"NOT kept: neither {places[0].parent} nor {places[1].parent} can be locked"
        )
        say(f"{source} of {city.name}; they are {where}")
        made = joined(label_blocks(city, spec, labels))
        if ours is not None:
            _write(ours, made, say)
    return made


def _content_digest(city: City, spec: DataSpec, labels: str) -> str:
    """16 hex digits over what the labels are made from: much less than what a city is."""
    kind = label_kind(city, spec)
    if kind == "official" and city.label_file:
        what = ["official", labels, official_digest(city.label_file)]
        kept = [None if side.rows is None else side.rows.tolist() for side in city.sides]
        return digest_json(what if kept == [None, None] else [*what, kept])
    view = ""
    if kind == "computed":
        without_angles(city)
        view = f" {spec.fov_degrees!r}"
    digest = hashlib.sha256(f"{kind} {ALGORITHM} {spec.fov_radius_m!r}{view}".encode())
    for side in city.sides:
        angles = side.headings.tobytes() if kind == "computed" else b""
        digest.update(f" {len(side)} ".encode() + side.positions.tobytes() + angles)
    return digest.hexdigest()[:16]


def _read(place: Path, shape: tuple[int, int], say: Say) -> csr_matrix | None:
    """What is kept there; None where nothing is, or nothing that can be used, which is said."""
    from scipy.sparse import csr_matrix

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
