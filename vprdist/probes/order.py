"""Probes: evaluations of one trained network under many arms. They belong to its trial, and are no trials."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from vprdist.files import digest_json
from vprdist.spec.base import Names, Spec
from vprdist.spec.probes import How
from vprdist.spec.vocabulary import METRICS, Placebo

PROBE_COLUMNS = ("subtask", "city", "query", "nearest", *METRICS)
"""The columns of a part's Parquet file: a row for each subtask and each query of it that counts.

`nearest` (the key of the first image retrieved) and the metrics (of that query alone) are lists: one entry for each
probe of the part, in the order in which the JSON beside the file names them. What a query is (its sequence, its
direction, …) stands in the trial's own `queries.parquet`.
"""
PROBES = "probes"
"""The folder of a trial's probes, in the trial's."""
SUMS = "sums"
"""The folder of the sums that they are pooled from, in that."""
PART_ARMS = 16
"""Arms of one part: what is lost at most when a process dies, and what one reading of the pictures serves."""
BLOCK_PICTURES = 256
"""Pictures of a block of sums, fewer where sums are long: what is lost at most when a process dies."""
Probe = tuple[int, Placebo]
"""A subset and what is shown in its mask's place."""


class ProbeOrder(Spec):
    """The arms that a trial's network is to be evaluated under, by the trial's own protocol.

    They are made in parts, each a file that appears whole. Asked for more arms later, an order finds its full parts.

    Attributes:
        trial: the trial's folder.
        players: the classes of each player.
        threads: of each process on the CPU; null: as the job has cores.
        how: what is made in the end is the same, to rounding, and is found whoever made it.
    """

    trial: str
    players: tuple[Names, ...]
    probes: tuple[Probe, ...]
    threads: int | None = Field(default=1, ge=1)
    how: How = "each"

    @property
    def folder(self) -> Path:
        """Where the parts lie: a folder for these players."""
        return Path(self.trial) / PROBES / digest_json([list(names) for names in self.players], 8)

    @property
    def digest(self) -> str:
        """Names the order: equal ones are one piece of work."""
        how = () if self.how == "each" else (self.how,)
        return digest_json([self.trial, self.players, self.probes, *how], 8)

    @property
    def sums(self) -> Path:
        """Where the sums lie that pooled probes are made of: of all classes, whoever the players are."""
        return Path(self.trial) / PROBES / SUMS

    @property
    def parts(self) -> dict[Path, tuple[Probe, ...]]:
        """The probes of each part, by its file."""
        cuts = [self.probes[begin : begin + PART_ARMS] for begin in range(0, len(self.probes), PART_ARMS)]
        return {self.folder / f"{digest_json(cut, 12)}.parquet": cut for cut in cuts}

    @property
    def missing(self) -> list[Path]:
        """Parts that nobody has made yet."""
        return [path for path in self.parts if not path.exists()]

    @property
    def num_done(self) -> int:
        """Probes that are made."""
        return sum(len(cut) for path, cut in self.parts.items() if path.exists())


class PartReport(Spec):
    """What one part holds and took; beside it, as JSON. `num_pictures` were described for each of its probes.

    Beside a block of sums it has no probes: its pictures passed the network once.
    """

    probes: tuple[Probe, ...]
    num_pictures: int
    seconds: float
    device: str
    threads: int
    how: How = "each"
