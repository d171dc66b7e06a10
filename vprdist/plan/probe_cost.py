"""What it costs to evaluate one network under many arms, from how long earlier probes or evaluations took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from vprdist.data.tasks import tasks_of
from vprdist.plan.estimate import Estimate
from vprdist.prepare.sums_room import sums_bytes
from vprdist.probes.make import probes_of
from vprdist.probes.order import PART_ARMS
from vprdist.probes.read import newest_reports
from vprdist.spec.methods.one_network import networks_of
from vprdist.spec.probes import How
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

POOLED_S = 5e-4
"""Seconds of a core for a picture under one arm where probes are pooled, search included, while none were measured.

An assumption. Sums of a ResNet50 with GeM, 740 x 5,000 pictures, one search an arm, one thread: 1.4e-4 s of the
processor, 3.6e-4 s by the clock while others shared the cores. Each subtask that has queries is a search more.
"""
NEWEST = 100
"""Parts and results that are looked at, newest first."""


@dataclass(frozen=True)
class ProbeCost:
    """The probes of a sweep whose method trains one network.

    Attributes:
        num_networks: of which each is evaluated under `num_probes` arms at most.
        num_pictures: described for each probe; None while the data are not there.
        device_s: seconds of one device for all of it; None where nothing earlier tells.
        basis: what tells it.
        num_pooled: networks whose pictures pass once for all arms.
        num_fewest: arms of the one that has the fewest, its form having no outline; None: all have as many.
        sums_gb: what the sums of each of these take on the disk, GB (1e9 bytes); None where that is not known.
    """

    num_networks: int
    num_probes: int
    num_pictures: int | None
    device_s: float | None
    basis: str
    num_pooled: int = 0
    sums_gb: float | None = None
    num_fewest: int | None = None

    def lines(self) -> Iterator[str]:
        """For a person."""
        pictures = "" if self.num_pictures is None else f" of {self.num_pictures} pictures each"
        fewest = "" if self.num_fewest in (None, self.num_probes) else f"{self.num_fewest} to "
        arms = f"{fewest}{self.num_probes} arms"
        yield f"{self.num_networks} network(s), each evaluated under {arms}{pictures}, without training"
        if self.num_pooled:
            kept = "" if self.sums_gb is None else f", which are kept: {self.sums_gb:.3g} GB each"
            rest = self.num_networks - self.num_pooled
            others = f"; {rest} have their masks at the picture, and a pass for each arm" if rest else ""
            yield f"{self.num_pooled} of them from sums of one pass (probes.how: pooled){kept}{others}"
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
    networks = list(networks_of(sweep).values())
    arms = [len(probes_of(sweep, setting)) for setting in networks]
    pooled = [sweep.pools_at(setting) for setting in networks]
    num_networks, num_probes, num_pooled, fewest = len(networks), max(arms), sum(pooled), min(arms)
    if trial.data.root == "demo":
        why = "the demo city is not made yet"
        return ProbeCost(num_networks, num_probes, None, None, why, num_pooled, num_fewest=fewest)
    pictures = sum(len(rows) for task in tasks_of(trial) for _, rows in task.sides)
    gpu = bool(profile.num_node_gpus)
    each, basis = _seconds_a_picture(trial, gpu, results, runs)
    total = None
    if each is not None:
        from_sums = _pooled_seconds(trial, gpu, runs) if num_pooled else 0.0
        taken = [each + from_sums * count if sums else each * count for count, sums in zip(arms, pooled, strict=True)]
        total = pictures * sum(taken)
    size = sums_bytes(sweep, trial) if num_pooled else None
    return ProbeCost(num_networks, num_probes, pictures, total, basis, num_pooled, size and size / 1e9, fewest)


def _pooled_seconds(trial: TrialSpec, gpu: bool, runs: Path) -> float:
    """The seconds that one device takes for one picture under one arm, from sums."""
    parts = _rates(trial, gpu, runs, "pooled")
    return median(parts) if parts else POOLED_S


def _rates(trial: TrialSpec, gpu: bool, runs: Path, how: How) -> list[float]:
    """Seconds a picture and arm of earlier parts of networks of the same kind."""
    return [
        part.seconds / max(1, part.num_pictures * len(part.probes))
        for other, part in newest_reports(runs, NEWEST)
        if _kind(other) == _kind(trial) and part.device.startswith("cpu") != gpu and part.how == how
    ]


def _seconds_a_picture(
    trial: TrialSpec, gpu: bool, results: Sequence[ResultRow], runs: Path
) -> tuple[float | None, str]:
    """The seconds that one device takes for one picture under one arm; and what tells it."""
    wanted = _kind(trial)
    parts = _rates(trial, gpu, runs, "each")
    if parts:
        return median(parts), f"measured on {len(parts)} parts of earlier probes"
    like = [
        (row, row.protocol)
        for row in results[:NEWEST]
        if row.protocol is not None and row.trial.job is None
        and _kind(row.trial) == wanted and row.device.startswith("cpu") != gpu
        and row.starts == 1 and row.wall_s > row.train_s
    ]  # fmt: skip
    if not like:
        return None, "no earlier trial of this backbone and size"
    rates = [
        (row.wall_s - row.train_s) * row.num_ranks
        / (protocol.num_queries + protocol.num_database) / (1 + (row.untrained is not None and row.steps > 0))
        for row, protocol in like
    ]  # fmt: skip
    return median(rates), f"at most: from the evaluations of {len(like)} earlier trials, their start included"


def _kind(trial: TrialSpec) -> tuple[object, ...]:
    return (
        trial.network.backbone.name,
        trial.network.backbone.title,
        trial.evaluate.image_size or trial.train.image_size,
    )
