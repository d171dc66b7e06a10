"""The three kinds of partner that a query may draw, by graded similarity s (GCL, section 3.2), and who has them.

Positives (s >= 0.5) are drawn half the time, soft negatives (0 < s < 0.5) and hard negatives (s = 0) a quarter each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vprdist.data.label_choice import trained_on
from vprdist.data.labels import label_blocks, label_rows
from vprdist.data.official import FOV
from vprdist.data.places import City
from vprdist.errors import TrainingError
from vprdist.spec.data import DataSpec

POSITIVE, SOFT, HARD = KINDS = 0, 1, 2
Shares = tuple[float, float, float]
SHARES: Shares = (0.5, 0.25, 0.25)
"""How often a positive, a soft and a hard negative are drawn (GCL)."""
POSITIVE_SIMILARITY = 0.5
NAMES = ("positive (similarity >= 0.5)", "soft negative (similarity below 0.5)", "hard negative (similarity 0)")


@dataclass(frozen=True)
class CityKinds:
    """Which kinds of partner the queries of a city have, of pictures that take part in training."""

    name: str
    num_queries: int
    num_gallery: int
    found: frozenset[int]


def city_kinds(city: City, spec: DataSpec, labels: str = FOV) -> CityKinds:
    """Looks at a training city until each kind was found, so that a whole city costs little.

    Raises:
        DataError: a label file that cannot be used.
    """
    queries, gallery = trained_on(city, spec)
    found: set[int] = set()
    begin = 0
    for block in label_rows(city, spec, labels):
        own, begin = queries[begin : begin + block.shape[0]], begin + block.shape[0]
        taken = np.repeat(own, np.diff(block.indptr)) & gallery[block.indices]
        positive = block.data[taken] >= POSITIVE_SIMILARITY
        num_pairs = int(own.sum()) * int(gallery.sum())
        has = {POSITIVE: positive.any(), SOFT: not positive.all(), HARD: len(positive) < num_pairs}
        found |= {kind for kind in KINDS if has[kind]}
        if len(found) == len(KINDS):
            break
    return CityKinds(city.name, int(queries.sum()), int(gallery.sum()), frozenset(found))


def num_places(city: City, spec: DataSpec, labels: str, num: int, enough: int) -> int:
    """How many queries of a training city have `num` positives; it is counted no further than `enough`.

    Raises:
        DataError: a label file that cannot be used.
    """
    queries, gallery = trained_on(city, spec)
    found = begin = 0
    for block in label_blocks(city, spec, labels):
        block, begin = block[queries[begin : begin + block.shape[0]]][:, gallery], begin + block.shape[0]
        block.data = (block.data >= POSITIVE_SIMILARITY).astype(block.data.dtype)
        found += int((block.sum(axis=1) >= num).sum())
        if found >= enough:
            break
    return min(found, enough)


def check_kinds(cities: Sequence[CityKinds], shares: Shares) -> tuple[str, ...]:
    """Every kind with a share is found in some training city: else its draws would be skipped, the others' shares grow.

    Returns:
        What a person should know: the cities without one of the kinds.

    Raises:
        TrainingError: no query of any city has a partner of such a kind.
    """
    notices = []
    for kind in (kind for kind in KINDS if shares[kind]):
        without = [city for city in cities if kind not in city.found]
        counts = "; ".join(f"{c.name}: {c.num_queries} queries, {c.num_gallery} database images" for c in without)
        if len(without) == len(cities):
            fault = f"no query of a training city has a {NAMES[kind]}, which are {shares[kind]:.0%} of the draws"
            remedy = "Check the positions and compass angles of these cities, or choose others."
            if kind == SOFT:
                remedy += (
                    " Labels that say yes or no (a truth without grades) have none: take a loss or batches that draw "
                    "none, e.g. trial.train.loss: contrastive, or batches: places with loss: multi_similarity."
                )
            raise TrainingError("trial.data.train", f"{fault} ({counts})", None, remedy)
        if without:
            notices.append(f"no {NAMES[kind]} in {counts}: {shares[kind]:.0%} of the draws there are skipped")
    return tuple(notices)


def check_places(cities: Sequence[CityKinds], wide: Sequence[int], num: int) -> tuple[str, ...]:
    """Some queries have enough positives for places of several pictures.

    Args:
        wide: how many queries of each city have `num` positives.

    Returns:
        What a person should know: how many queries of a city take no part.

    Raises:
        TrainingError: no query of any city has as many.
    """
    if not any(wide):
        fault = f"no query of a training city has {num} positives, which a place of {num + 1} pictures needs"
        found = ", ".join(f"{city.name}: {city.num_queries} queries" for city in cities)
        remedy = "Set trial.train.place_pictures lower, or train on other cities."
        raise TrainingError("trial.train.place_pictures", fault, found, remedy)
    few = [(city, count) for city, count in zip(cities, wide, strict=True) if count < city.num_queries]
    return tuple(
        f"{city.num_queries - count} of {city.num_queries} queries of {city.name} have fewer than {num} positives: no "
        "places are made of them"
        for city, count in few
    )
