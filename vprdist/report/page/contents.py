"""What the page shows besides the leaderboard: gathered by the command, which may read what this room may not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vprdist.report.evidence import Block
from vprdist.spec.attribution import AttributionReport
from vprdist.spec.trial import TrialSpec
from vprdist.store.queries import Queries

MOST_LINES = 8
"""Rows in a chart: as many as colours and dashes tell apart."""


class Pictures(Protocol):
    """Small JPEG files of a sweep's places, made when asked for. None: this picture cannot be had."""

    @property
    def reason(self) -> str | None:
        """Why there are no pictures at all; None where there are."""

    def thumbnail(self, city: str, side: str, key: str) -> bytes | None:
        """The picture of a key of the `query` or `database` side."""

    def masked(self, city: str, side: str, key: str, trial: TrialSpec) -> list[View]:
        """What a trial's mask, or its placebo, makes of a picture in its form, as dark as the network sees it.

        At the features it is the mask, as weights. Where masks are dark by their reduction it follows stretched, as its
        label says. Empty where it cannot be had.
        """

    def figure(self, trial: TrialSpec, count: int) -> list[Figure]:
        """The paper's Figure 2 for some evenly spaced queries; empty where there is no cache."""


@dataclass(frozen=True)
class View:
    """One picture, a JPEG file, and what it shows."""

    label: str
    jpeg: bytes


@dataclass(frozen=True)
class Figure:
    """One query on its way into a network with masks."""

    city: str
    key: str
    views: tuple[View, ...]


class NoPictures:
    """Where data cannot be reached."""

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason

    def thumbnail(self, city: str, side: str, key: str) -> bytes | None:
        return None

    def masked(self, city: str, side: str, key: str, trial: TrialSpec) -> list[View]:
        return []

    def figure(self, trial: TrialSpec, count: int) -> list[Figure]:
        return []


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How one trial is getting on. Hours count devices: GPUs, or ranks where the job has no GPU."""

    trial: str
    name: str
    state: str
    spent_h: float
    wasted_h: float
    why: str = ""
    log_lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One trial's training: (step, loss) and (step, objective), untrained first; a program's other numbers by name."""

    row: str
    seed: int
    loss: Sequence[tuple[int, float]] = ()
    objective: Sequence[tuple[int, float]] = ()
    others: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that is on the page. `queries` and `answers` are by trial id, of rows that were compared.

    published: the paper's Table I is asked for, whatever the data.
    probes: a line on those that are still to be made.
    learnt: what the template needs of masks that were learnt; None: there are none.
    """

    title: str
    objective: str
    written: str
    blocks: Sequence[Block]
    progress: Sequence[Progress]
    curves: Sequence[Curve]
    queries: Mapping[str, Queries]
    answers: Answers
    pictures: Pictures
    sweep_file: str
    manifest: Mapping[str, Any]
    left_out: Sequence[str] = ()
    refresh_s: int | None = None
    gpus: bool = field(default=False)
    attribution: AttributionReport | None = None
    probes: str | None = None
    published: bool = False
    learnt: Mapping[str, Any] | None = None


class Answers(Protocol):
    """What a trial retrieved for some (city, query) of its own subtask; see `store.queries.read_answers`."""

    def __call__(self, trial_id: str, wanted: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """By (city, query): `retrieved`, `hits` and `positives`."""
