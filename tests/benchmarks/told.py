"""What a benchmark tells the table of all of them, beside what it prints: a line for each comparison.

    from told import tell

    tell("masks of ten classes", 18_000, "1/s", peer="the fastest sum in memory", theirs=20_000, at_least=0.9)

Outside `python -m tests.benchmarks` nothing happens, so that a benchmark stays a program of its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

ROWS = "VPRDIST_BENCHMARK_ROWS"
"""The variable that names the file which takes the lines."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        ours: our figure, in `unit`.
        theirs: the peer's, or the limit's, in the same unit; None: there is none.
        at_least, at_most: what `ratio` should be, or our figure where there is no peer; None: no aim.
    """

    what: str
    ours: float
    unit: str = ""
    peer: str = ""
    theirs: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours by theirs."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def aim(self) -> str:
        """What is aimed at, in words."""
        words = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None: there is none."""
        if not self.aim:
            return None
        found = self.ours if self.theirs is None else self.ratio
        least, most = self.at_least, self.at_most
        return found is not None and (least is None or found >= least) and (most is None or found <= most)


def tell(
    what: str,
    ours: float,
    unit: str = "",
    *,
    peer: str = "",
    theirs: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Add a `Row`, also from a process that the benchmark started."""
    if file := os.environ.get(ROWS):
        row = Row(what=what, ours=float(ours), unit=unit, peer=peer, theirs=None if theirs is None else float(theirs),
                  at_least=at_least, at_most=at_most)  # fmt: skip
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(row)) + "\n")


def read_rows(file: Path) -> list[Row]:
    """What was told, in order; nothing where nothing was."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]
