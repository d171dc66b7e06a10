"""Queries that one row finds and its baseline misses, or the other way round: with what was retrieved, to look at."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vprdist.report.evidence import Block, Standing
from vprdist.report.page.contents import Answers, Pictures
from vprdist.report.page.maps import found_metric
from vprdist.report.rows import Row
from vprdist.spec.trial import TrialSpec
from vprdist.store.queries import Queries

MOST_PAIRS, A_SIDE = 8, 4
MOST_BYTES = 8_000_000
"""The pictures on a page have so many bytes at most; what comes after them is shown by its key."""


@dataclass(frozen=True)
class Shot:
    """One picture of a flip: what it is, its key, a data URI where it could be had, and whether its place is right."""

    role: str
    key: str
    uri: str | None
    right: bool | None = None


@dataclass(frozen=True)
class Flip:
    """One query: found by the row alone (`gained`) or by the baseline alone, and the rank of the first right one."""

    city: str
    query: str
    gained: bool
    rank_row: str
    rank_baseline: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class FlipSet:
    """A row against its baseline, first seed against first seed: counts of all flips, and some of them."""

    row: str
    baseline: str
    gained: int
    lost: int
    flips: tuple[Flip, ...]


class Album:
    """Pictures as data URIs, up to `most` bytes of them."""

    def __init__(self, pictures: Pictures, most: int = MOST_BYTES) -> None:
        self.pictures = pictures
        self.full = False
        self.used = 0
        self._most = most

    def uri(self, jpeg: bytes | None) -> str | None:
        """The picture's URI; None where there is none, or no room any more."""
        if jpeg is None:
            return None
        text = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
        if self.used + len(text) > self._most:
            self.full = True
            return None
        self.used += len(text)
        return text


def flip_sets(block: Block, queries: Mapping[str, Queries], answers: Answers, album: Album) -> list[FlipSet]:
    """The first rows that have a baseline, each with some queries that flipped."""
    if block.protocol is None:
        return []
    rows = {standing.row.name: standing.row for standing in block.standings}
    compared = [standing for standing in block.standings if standing.difference is not None]
    return [_flip_set(block, standing, rows, queries, answers, album) for standing in compared[:MOST_PAIRS]]


def _flip_set(
    block: Block, standing: Standing, rows: Mapping[str, Row], queries: Mapping[str, Queries], answers: Answers,
    album: Album,
) -> FlipSet:  # fmt: skip
    assert standing.difference is not None
    row, baseline = standing.row, rows[standing.difference.baseline]
    ours, theirs = (queries[each.results[0].asked] for each in (row, baseline))
    own = ours.subtask == row.results[0].own_protocol.subtask
    metric = found_metric(block.objective)
    hit, hit_before = ours.metrics[metric][own] > 0.5, theirs.metrics[metric][own] > 0.5
    keys = list(zip(ours.city[own].tolist(), ours.query[own].tolist(), strict=True))
    gained, lost = np.flatnonzero(hit & ~hit_before), np.flatnonzero(~hit & hit_before)
    chosen = [(keys[i], True) for i in _spread(gained)] + [(keys[i], False) for i in _spread(lost)]
    wanted = [key for key, _ in chosen]
    found, found_before = (answers(each.results[0].trial_id, wanted) for each in (row, baseline))
    trials = (row.trial, baseline.trial)
    flips = tuple(
        _flip(key, is_gain, trials, (found[key], found_before[key]), album) for key, is_gain in chosen if key in found
    )
    return FlipSet(row.name, baseline.name, len(gained), len(lost), flips)


def _spread(places: np.ndarray) -> list[int]:
    """A few of them, evenly spaced: not only those of the first drive."""
    if not len(places):
        return []
    return [int(places[i]) for i in np.unique(np.linspace(0, len(places) - 1, A_SIDE).astype(int))]


def _flip(
    key: tuple[str, str], gained: bool, trials: tuple[TrialSpec, TrialSpec],
    found: tuple[Mapping[str, Any], Mapping[str, Any]], album: Album,
) -> Flip:  # fmt: skip
    """Each picture without a mask, and behind it what the network that it was shown to saw of it through its own."""
    city, query = key
    plain = ", unmasked" if any(trial.input.uses_mask for trial in trials) else ""

    def shot(role: str, side: str, name: str, right: bool | None = None) -> Shot:
        return Shot(f"{role}{plain}", name, album.uri(album.pictures.thumbnail(city, side, name)), right)

    shots = [shot("query", "query", query)]
    for who, trial in _seers(trials):
        shots += masked_shots(f"query{who}", city, "query", query, trial, album)
    roles = ("retrieved by the row", "retrieved by the baseline")
    for role, trial, answer in zip(roles, trials, found, strict=True):
        for name, right in list(zip(answer["retrieved"], answer["hits"], strict=True))[:1]:
            shots.append(shot(role, "database", name, bool(right)))
            shots += masked_shots(role, city, "database", name, trial, album, bool(right))
    for name in found[0]["positives"][:1]:  # the same for both
        shots.append(shot("the place itself", "database", name, True))
    return Flip(city, query, gained, _rank(found[0]["hits"]), _rank(found[1]["hits"]), tuple(shots))


def _seers(trials: tuple[TrialSpec, TrialSpec]) -> list[tuple[str, TrialSpec]]:
    """The trials by whose masks a query is shown, and in which words; one, where row and baseline have the same."""
    row, baseline = ((trial.input, trial.seed if trial.input.placebo != "none" else None) for trial in trials)
    if row == baseline:
        return [("", trials[0])]
    return [(f" as the {who} sees it", trial) for who, trial in zip(("row", "baseline"), trials, strict=True)]


def masked_shots(
    role: str, city: str, side: str, key: str, trial: TrialSpec, album: Album, right: bool | None = None
) -> list[Shot]:
    """A picture as a trial's network sees it; none where it has no mask, or nothing can be had."""
    if not trial.input.uses_mask or album.full:
        return []
    views = album.pictures.masked(city, side, key, trial)
    return [Shot(f"{role}, {view.label}", key, album.uri(view.jpeg), right) for view in views]


def _rank(hits: Sequence[bool]) -> str:
    """Where the first right picture came, in words."""
    return f"right at rank {list(hits).index(True) + 1}" if any(hits) else f"none of {len(hits)} right"
