"""Small worlds without pictures for evaluation: ties, duplicates, panoramas, subtasks, cities that are empty in one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from tests.worlds import SUBTASKS, write_side
from vprdist.data.places import City, Side, Truth
from vprdist.evaluation.descriptors import Descriptors
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.vocabulary import SIDES


def wild_side(city: str, side: str, count: int, dead: np.ndarray, rng: np.random.Generator) -> Side:
    """Positions in whole fives of metres: equal ones and pairs on the rim are frequent; some are far away."""
    subtasks = {name: (rng.random(count) < 0.6) & ~dead[i] for i, name in enumerate(SUBTASKS)}
    east, north = rng.integers(0, 25, (2, count))
    return Side(
        city=city,
        side=side,
        folder=Path(city) / side,
        keys=np.array([f"{city}_{side[0]}{i}" for i in range(count)]),
        paths=(),
        pano=rng.random(count) < 0.2,
        ca=np.full(count, 90.0),
        easting=500_000.0 + 5 * east,
        northing=5_000_000.0 + 5 * north,
        night=rng.random(count) < 0.5,
        view_direction=np.full(count, "Forward"),
        subtasks=subtasks | {"all": rng.random(count) < 0.9},
        sequence_key=np.full(count, f"{side}_seq"),
        frame_number=np.arange(count),
        conditions=np.full(count, ""),
    )


def wild_cities(seed: int, names: tuple[str, ...] = ("uno", "dos")) -> list[City]:
    """Cities in memory, often with fewer database images than are retrieved, and without queries in some subtask."""
    rng, cities = np.random.default_rng(seed), []
    for name in names:
        dead = rng.random(7) < 0.15
        counts = (int(rng.integers(1, 15)), int(rng.integers(1, 40)))
        query, database = (wild_side(name, s, n, dead, rng) for s, n in zip(SIDES, counts, strict=True))
        cities.append(City(name=name, split="train_val", query=query, database=database))
    return cities


def write_cities(root: Path, cities: list[City]) -> None:
    """Their CSVs, as MSLS has them; no pictures."""
    for city in cities:
        for side in city.sides:
            write_side(
                root / "train_val" / city.name / side.side,
                side.keys.tolist(),
                [tuple(place) for place in side.positions.tolist()],
                panos=side.pano.tolist(),
                subtasks={name: flags.tolist() for name, flags in side.subtasks.items()},
                images=False,
            )


def wild_descriptors(cities: list[City], seed: int, dimensions: int = 4) -> Descriptors:
    """Descriptors of every picture; few distinct ones, so that many are equally far."""
    rng = np.random.default_rng(seed)
    places, begin = {}, 0
    for city in cities:
        for side in city.sides:
            places[side.city, side.side] = np.arange(begin, begin + len(side))
            begin += len(side)
    distinct = rng.integers(-2, 3, (9, dimensions)).astype(np.float32) / 4
    return Descriptors(distinct[rng.integers(0, 9, begin)], places)


def told_cities(seed: int) -> list[City]:
    """Cities whose queries have conditions, and of which some know their positives by themselves."""
    rng, cities = np.random.default_rng(seed), []
    for city in wild_cities(seed):
        words = rng.choice(["", "night", "snow"], len(city.query))
        query = replace(city.query, conditions=words)
        shape = (len(city.query), len(city.database))
        truth = Truth(positives=csr_matrix(rng.random(shape) < 0.2), told="by hand") if rng.random() < 0.5 else None
        cities.append(replace(city, query=query, truth=truth))
    return cities


def is_positive(city: City, query: int, row: int, radius_m: float) -> bool:
    """By the city's own truth, or by the radius; its rim counts."""
    if city.truth is not None:
        return bool(city.truth.positives[query, row])
    return bool(np.hypot(*(city.query.positions[query] - city.database.positions[row])) <= radius_m)


def slow_rankings(
    cities: list[City], descriptors: Descriptors, evaluate: EvaluateSpec, radius_m: float = 25.0
) -> dict[tuple[str, str], tuple[list[tuple[str, str]], set[tuple[str, str]]]]:
    """The official rules in plain loops: for each query that counts its 20 nearest images and all its positives.

    Everything is named by (city, key).
    """

    def of_subtask(side: Side, row: int) -> bool:
        if evaluate.subtask in SUBTASKS:
            return bool(side.subtasks[evaluate.subtask][row])
        right = side.side == "database" or side.conditions[row] == evaluate.subtask
        return bool(side.subtasks["all"][row]) and right

    inside = {"subtask": of_subtask, "every": lambda side, row: True}
    kept = {}
    for city in cities:
        scopes = (evaluate.queries, evaluate.database)
        rows = [
            [row for row in range(len(side)) if not side.pano[row] and inside[scope](side, row)]
            for side, scope in zip(city.sides, scopes, strict=True)
        ]
        if rows[0] and (rows[1] or evaluate.no_positives == "count"):  # a city that lacks either is left out as a whole
            kept[city.name] = (city, *rows)
    images = [(city, row) for city, _, database in kept.values() for row in database]

    def vector(side: Side, row: int) -> np.ndarray:
        return descriptors.values_ND[descriptors.places[side.city, side.side][row]].astype(np.float64)

    out = {}
    for city, queries, _ in kept.values():
        for query in queries:
            positives = {
                (city.name, str(city.database.keys[row]))
                for other, row in images
                if other is city and is_positive(city, query, row, radius_m)
            }
            if not positives and evaluate.no_positives == "drop":
                continue
            searched = images if evaluate.gallery == "merged" else [image for image in images if image[0] is city]
            asked = vector(city.query, query)
            distances = [float(((vector(other.database, row) - asked) ** 2).sum()) for other, row in searched]
            order = sorted(range(len(searched)), key=lambda index: (distances[index], index))[:20]
            names = [(searched[i][0].name, str(searched[i][0].database.keys[searched[i][1]])) for i in order]
            out[city.name, str(city.query.keys[query])] = (names, positives)
    return out


def slow_metrics(names: list[tuple[str, str]], positives: set[tuple[str, str]]) -> dict[str, float]:
    """recall@k and AP@k of one query, as the official script counts."""
    out = {}
    for k in (1, 5, 10, 20):
        hits, score = 0, 0.0
        for place, name in enumerate(names[:k], 1):
            if name in positives:
                hits += 1
                score += hits / place
        out[f"recall@{k}"] = float(hits > 0)
        out[f"map@{k}"] = score / min(len(positives), k) if positives else 0.0
    return out
