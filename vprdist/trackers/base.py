"""What a tracker is given, and what it answers. One built in is a file of this room and a line of `doors.tracker`.

The folders of a sweep are the memory: a tracker is told again whatever it does not have for certain, and must not keep
it twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

State = Literal["running", "finished", "failed", "cancelled", "stopped early"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tracker stands: `folder` is its own, for what it keeps where it has no server."""

    sweep: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run is.

    Attributes:
        run_id: the same for the same sweep and trial, whoever sends it.
        kind: `trial`, or `sweep` of the one run that has the leaderboard.
        group: the leaderboard's row: the trials that differ in their seed alone.
        config: the resolved trial, or sweep file, as JSON.
        labels: further words of it: sweep, row, trial, seed.
    """

    run_id: str
    kind: Literal["trial", "sweep"]
    name: str
    group: str
    config: Mapping[str, Any]
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of numbers.

    Attributes:
        number: which of the run's, from 0: a tracker that has it already leaves it out.
        time: Unix seconds.
        numbers: by `<kind of row>/<name>`; NaN and infinities too.
    """

    number: int
    step: int
    time: float
    numbers: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands, and what has come of it: `results` are numbers, `notes` texts, `files` the leaderboard's.

    `step`: the last one, which results belong to.
    """

    state: State
    step: int = 0
    ended_at: float | None = None
    results: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether no further points are expected."""
        return self.state != "running"


class Run(Protocol):
    """One run of a tracker, open."""

    sent: int
    """So many of the run's first points it has: none of them need be sent."""

    def log(self, points: Sequence[Point]) -> None:
        """Take further points, in order."""

    def kept(self) -> Mapping[str, Any] | None:
        """What the tracker must know to go on after all points so far; None: it cannot promise yet that it has them."""

    def finish(self, standing: Standing) -> Mapping[str, Any]:
        """Say how the run stands, and return, as `kept`, once the tracker has everything. The run is closed then.

        A run that is still `running` is opened again later.
        """


class Tracker(Protocol):
    """One tracker of one sweep; made with `place` and the parameters of the sweep file, in a process of its own."""

    where: str
    """Where runs go: a server, a folder."""
    look: str
    """The command that shows them, or sends them on."""

    def open(self, facts: RunFacts, points: int, kept: Mapping[str, Any]) -> Run:
        """A run, new or one that was open before.

        Args:
            points: it has for certain.
            kept: what the run kept then.
        """


def flat(config: Any, above: str = "") -> dict[str, Any]:
    """A tree by dotted keys; empty lists and mappings stay."""
    if isinstance(config, Mapping) and config:
        pairs = ((f"{above}.{key}" if above else str(key), value) for key, value in config.items())
        return {name: each for key, value in pairs for name, each in flat(value, key).items()}
    return {above: config}
