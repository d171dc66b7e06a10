"""What it costs to evaluate one network under many arms, from how long earlier probes or evaluations took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from vprdist.data.tasks import tasks_of
from vprdist.plan.estimate import Estimate
from vprdist.probes.make import probes_of
from vprdist.probes.order import PART_ARMS
from vprdist.probes.read import newest_reports
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

NEWEST = 100
"""Parts and results that are looked at, newest first."""


@dataclass(frozen=True)
class ProbeCost:
    """The probes of a sweep whose method trains one network.

    Attributes:
        num_networks: of which each is evaluated under `num_probes` arms.
        num_pictures: described for each probe; None while the data are not there.
        device_s: seconds of one device for all of it; None where nothing earlier tells.
        basis: what tells it.
    """

    num_networks: int
    num_probes: int
    num_pictures: int | None
    device_s: float | None
    basis: str

    def lines(self) -> Iterator[str]:
        """For a person."""
        pictures = "" if self.num_pictures is None else f" of {self.num_pictures} pictures each"
        yield f"{self.num_networks} network(s), each evaluated under {self.num_probes} arms{pictures}, without training"
        if self.device_s is None:
            yield f"how long that takes is not known: {self.basis}"
        else:
            yield f"about {self.device_s / 3600:.3g} device-hours of probes ({self.basis}); jobs share them"

    def estimates(self, profile: ClusterProfile) -> list[Estimate]:
        """As the wall times of trials that cost as much: a probing job has one GPU, a trial may have more.

        Where nothing tells it, each job may take its whole time limit.
        """
        gpus = max(1, profile.nodes * profile.num_node_gpus)
        if self.device_s is None:
            jobs = self.num_networks * min(profile.array_limit, -(-self.num_probes // PART_ARMS))
            return [Estimate(None, "nothing")] * -(-jobs // gpus)
        return [Estimate(self.device_s / 3600 / gpus, "similar trials")]


def probe_cost(
    sweep: SweepSpec, trial: TrialSpec, profile: ClusterProfile, results: Sequence[ResultRow], runs: Path
) -> ProbeCost | None:
    """What the sweep's probes cost; None where it makes none.

    Args:
        trial: any of the sweep, its paths filled in where the data are there.
    """
    if not sweep.search.method.trains_one:
        return None
    num_networks = len(sweep.settings) * len(sweep.seeds)
    num_probes = max(len(probes_of(sweep, setting)) for setting in sweep.settings)
    if trial.data.root == "demo":
        return ProbeCost(num_networks, num_probes, None, None, "the demo city is not made yet")
    pictures = sum(len(rows) for task in tasks_of(trial) for _, rows in task.sides)
    each, basis = _seconds_a_picture(trial, bool(profile.num_node_gpus), results, runs)
    total = None if each is None else each * pictures * num_probes * num_networks
    return ProbeCost(num_networks, num_probes, pictures, total, basis)


def _seconds_a_picture(
    trial: TrialSpec, gpu: bool, results: Sequence[ResultRow], runs: Path
) -> tuple[float | None, str]:
    """The seconds that one device takes for one picture under one arm; and what tells it."""
    wanted = _kind(trial)
    parts = [
        part.seconds / max(1, part.num_pictures * len(part.probes))
        for other, part in newest_reports(runs, NEWEST)
        if _kind(other) == wanted and part.device.startswith("cpu") != gpu
    ]
    if parts:
        return median(parts), f"measured on {len(parts)} parts of earlier probes"
    like = [row for row in results[:NEWEST] if _kind(row.trial) == wanted and row.device.startswith("cpu") != gpu]
    like = [row for row in like if row.starts == 1 and row.wall_s > row.train_s]
    if not like:
        return None, "no earlier trial of this backbone and size"
    rates = [
        (row.wall_s - row.train_s) * row.num_ranks
        / (row.protocol.num_queries + row.protocol.num_database) / (1 + (row.untrained is not None and row.steps > 0))
        for row in like
    ]  # fmt: skip
    return median(rates), f"at most: from the evaluations of {len(like)} earlier trials, their start included"


def _kind(trial: TrialSpec) -> tuple[object, ...]:
    return (
        trial.network.backbone.name,
        trial.network.backbone.title,
        trial.evaluate.image_size or trial.train.image_size,
    )
