"""What training needs of a city: who takes part, and the graded similarity of every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vprdist.data.label_choice import fallen_back, label_kind, labels_digest, trained_on, without_angles
from vprdist.data.labels import Say, label_blocks, read_labels
from vprdist.data.places import City
from vprdist.data.similarity import joined
from vprdist.errors import DataError
from vprdist.spec.computation import FIRST
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import TrialSpec

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CityGraph:
    """What sampling needs of one city: queries and database rows that take part, and the graded similarity.

    similarity is (N, M), query x database rows, of values above 0; absent entries are 0.

    Attributes:
        group: the share of training that it is of, by name, and `share` how much that is beside the other groups';
            equal names have equal shares. "" where each query counts alike.
    """

    name: str
    queries: Ints
    gallery: Ints
    similarity: csr_matrix
    group: str = ""
    share: float = 1.0

    def similarity_of(self, queries: Ints, rows: Ints) -> npt.NDArray[np.float32]:
        """(len(queries), len(rows)) float32: every query's similarity to every database row; rows may repeat."""
        return np.asarray(self.similarity[queries][:, rows].toarray(), np.float32)


def training_graphs(
    trial: TrialSpec, cities: Sequence[City], runs: Path, say: Say
) -> tuple[list[CityGraph], tuple[str, ...]]:
    """The graphs of a trial's training cities, kept from an earlier job where there was one; and what to record.

    A rank holds 8 bytes a pair of images whose fields of view meet, and 8 bytes a query.

    Args:
        trial: with its digests.
        cities: those of `trial.data.train`, in this order.
        runs: the run folder.
        say: told what takes long; once a city.

    Raises:
        DataError: a label file that cannot be used, or is another one than when the trial was submitted.
    """
    assert trial.digests is not None
    spec = trial.data
    if trial.computation == FIRST:
        cities = [_with_every_angle(city) for city in cities]
    if (found := labels_digest(spec, cities)) != trial.digests.labels:
        fault = f"the official labels must have the digest of the submission, {trial.digests.labels}"
        raise DataError(spec.root, fault, found, "Run the sweep again: what changed makes other trials.")
    learnt = str(trial.train.loss.fact("labels"))
    graphs = [
        replace(
            _graph(city, spec, read_labels(city, spec, runs, say, learnt)), group=name, share=spec.shares.get(name, 1)
        )
        for city, name in zip(cities, spec.share_names, strict=True)
    ]
    computed = [city for city in cities if label_kind(city, spec) == "computed"]
    notices = [fact for city in computed for fact in without_angles(city)]
    return graphs, (*notices, *fallen_back(cities, spec))


def _with_every_angle(city: City) -> City:
    query, database = (replace(side, every_angle=True) for side in city.sides)
    return replace(city, query=query, database=database)


def city_graph(city: City, spec: DataSpec) -> CityGraph:
    """One city's graph, made here and now."""
    return _graph(city, spec, joined(label_blocks(city, spec)))


def _graph(city: City, spec: DataSpec, similarity: csr_matrix) -> CityGraph:
    queries, gallery = trained_on(city, spec)
    return CityGraph(city.name, np.flatnonzero(queries), np.flatnonzero(gallery), similarity)
