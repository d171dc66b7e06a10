"""The memory of a search: every proposal, on the disk before its trial starts, and what was stopped early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vprdist.errors import SweepFileError, UserError
from vprdist.files import append_json_line, canonical_json, read_json_lines
from vprdist.spec.names import is_name
from vprdist.spec.old_spellings import present_keys
from vprdist.spec.search import Point
from vprdist.spec.trial import TrialSpec
from vprdist.store.reading import found_in

Resolve = Callable[[Point], TrialSpec]
TRIAL, POINT, WHY = ("trial", str), ("point", dict), ("why", str)
FIELDS = {"proposed": (TRIAL, POINT), "refused": (POINT, WHY), "stopped": (TRIAL,)}
"""What a row of each kind says at least; any other row counts for nothing."""


def proposals_path(sweep: Path) -> Path:
    """The file, in the sweep's folder."""
    return sweep / "proposals.jsonl"


def is_searched(sweep: Path) -> bool:
    """Whether a searcher proposes the trials of the sweep of that folder."""
    return any(row["kind"] == "proposed" for row in _rows(proposals_path(sweep)))


def stopped(sweep: Path) -> dict[str, Mapping[str, Any]]:
    """What the scheduler of the sweep of that folder stopped early: by trial id the row that says so."""
    return _stopped(proposals_path(sweep))


def networks(sweep: Path) -> dict[str, str]:
    """Ids of the sweep's trials that train one network for all subsets, by the canonical JSON of their points."""
    proposed = [row for row in _rows(proposals_path(sweep)) if row["kind"] == "proposed"]
    return {canonical_json(row["point"]): row["trial"] for row in proposed if "train.arms" in row["point"]}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        rows = read_json_lines(path)[0]
    except OSError as error:  # without it trials would be proposed, and run, that nobody wants any more
        remedy = "Move it away, and the search begins anew: trials that have a result keep it."
        raise UserError(path, "proposals must be readable", found_in(error), remedy) from None
    for row in rows:
        needed = FIELDS.get(str(row.get("kind")))
        if needed is not None and all(isinstance(row.get(name), kind) for name, kind in needed) and _is_sound(row):
            # An earlier version's spelling of an axis is the same point.
            yield row | {"point": present_keys(row["point"])} if isinstance(row.get("point"), dict) else row


def _is_sound(row: Mapping[str, Any]) -> bool:
    """The trial has an id, the point one text (no NaN), and what is told of a stop is a number."""
    try:
        canonical_json(row.get("point"))
        float(row.get("value") or 0.0)
        int(row.get("step") or 0)
    except (ValueError, TypeError, OverflowError):
        return False
    return "trial" not in row or is_name(str(row["trial"]))


def _stopped(path: Path) -> dict[str, Mapping[str, Any]]:
    return {row["trial"]: row for row in _rows(path) if row["kind"] == "stopped"}


@dataclass(frozen=True)
class Proposal:
    """A point and its trial; `refused` says why the point is no trial."""

    point: Point
    trial_id: str | None
    refused: str = ""


@dataclass
class Proposals:
    """The file, read and written. Rows: `proposed`, `refused`, `stopped`; appended, never changed.

    Args:
        path: the file, `proposals_path` of the sweep's folder.
        resolve: a point to its trial, with digests; raises UserError for values that do not go together.
        objective: the metric of a stopped trial that is kept.
        tell: called with each trial that is new in this run of the driver.
    """

    path: Path
    resolve: Resolve
    objective: str
    tell: Callable[[TrialSpec], None] = lambda trial: None
    known: list[Proposal] = field(default_factory=list)
    stopped: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    ids: dict[str, str | None] = field(default_factory=dict)
    """By the canonical JSON of a point; two points may be one trial."""
    asked: list[Point] = field(default_factory=list)
    """Every point in the order of the file, those that are no trial and those that were no news among them."""

    def read(self) -> None:
        """What earlier drivers proposed. A proposal whose trial has another id by now (its data changed) is dropped."""
        self.read_stops()
        for row in _rows(self.path):
            if row["kind"] == "refused":
                self.asked.append(row["point"])
                self._remember(Proposal(row["point"], None, row["why"]))
            elif row["kind"] == "proposed":
                self._take_again(row["point"], row["trial"])

    def read_stops(self) -> None:
        """What earlier drivers' schedulers stopped."""
        self.stopped = _stopped(self.path)

    def propose(self, point: Point, repeats: bool = False) -> Proposal:
        """Resolve and journal a new point. One whose trial is known already is another name of it, and no proposal.

        Args:
            repeats: journal a known point too: whoever proposed it is told that it did, after a restart as well.

        Raises:
            UserError: something outside the point is wrong, a cache or weights that are missing: it may be mended.
        """
        self.asked.append(point)
        try:
            trial = self.resolve(point)
        except SweepFileError as error:
            refused = Proposal(point, None, str(error))
            self._append({"kind": "refused", "point": point, "why": str(error)})
            self._remember(refused)
            return refused
        proposal = Proposal(point, trial.trial_id)
        if repeats or canonical_json(point) not in self.ids:
            self._append({"kind": "proposed", "trial": trial.trial_id, "point": point})
        self._take(proposal, trial)
        return proposal

    def stop(self, trial_id: str, step: int, value: float) -> None:
        """The scheduler stopped a trial: this sweep never runs it again."""
        row = {"kind": "stopped", "trial": trial_id, "step": step, "value": value}
        self.stopped[trial_id] = row
        self._append(row)

    def _take_again(self, point: Point, trial_id: str) -> None:
        again = self._resolved(point)
        if again is not None and again.trial_id == trial_id:
            self.asked.append(point)
            self._take(Proposal(point, trial_id), again)

    def _take(self, proposal: Proposal, trial: TrialSpec) -> None:
        """A proposal, and its trial where that is new."""
        if trial.trial_id in {known.trial_id for known in self.known}:
            self.ids[canonical_json(proposal.point)] = trial.trial_id
            return
        self._remember(proposal)
        self.tell(trial)

    def _remember(self, proposal: Proposal) -> None:
        self.known.append(proposal)
        self.ids[canonical_json(proposal.point)] = proposal.trial_id

    def _resolved(self, point: Point) -> TrialSpec | None:
        try:
            return self.resolve(point)
        except UserError:
            return None

    def _append(self, row: Mapping[str, Any]) -> None:
        append_json_line(self.path, row, durable=True)  # a trial must not start that nobody remembers
