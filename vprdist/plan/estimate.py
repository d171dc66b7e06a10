"""How long trials take, from how long earlier ones took."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from vprdist.errors import UserError
from vprdist.files import canonical_json
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.program import ProgramSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import TrialSpec
from vprdist.store.result_file import read_result
from vprdist.store.trial_folder import results_in

NEWEST = 500
"""Results that are read, newest first: a run folder may hold thousands."""
Basis = Literal["the same recipe", "the same program", "similar trials", "nothing"]


@dataclass(frozen=True)
class Estimate:
    """One trial's wall time in hours, from `count` earlier results; None where there are none.

    `peak_gb`: the most memory of a node that one of the same recipe took; None where none is known, or it ran on GPUs.
    """

    hours: float | None
    basis: Basis
    count: int = 0
    peak_gb: float | None = None


def read_results(runs: Path) -> list[ResultRow]:
    """The newest results of a run folder; what cannot be read is left out."""
    paths = sorted(results_in(runs), key=lambda path: path.lstat().st_mtime, reverse=True)
    rows = []
    for path in paths[:NEWEST]:
        with contextlib.suppress(UserError, FileNotFoundError):
            rows.append(read_result(path))
    return rows


class Estimates:
    """The estimates of many trials: those that depend on the same values are made once.

    Args:
        results: earlier ones.
    """

    def __init__(self, profile: ClusterProfile, results: Sequence[ResultRow]) -> None:
        self._profile, self._results = profile, results
        self._made: dict[tuple[object, ...], Estimate] = {}

    def of(self, trial: TrialSpec) -> Estimate:
        """`estimate` of a trial."""
        if trial.job is not None:
            key: tuple[object, ...] = (trial.job.title, canonical_json(_code(trial)))
        else:
            key = (*_recipe(trial, self._profile.num_ranks), trial.train.steps)
        if key not in self._made:
            self._made[key] = estimate(trial, self._profile, self._results)
        return self._made[key]


def estimate(trial: TrialSpec, profile: ClusterProfile, results: Sequence[ResultRow]) -> Estimate:
    """The wall time of one trial, from the median of earlier ones: the same recipe, or scaled from similar ones.

    The time of a step is taken to grow with pixels and pairs, and to shrink with ranks; the rest of a trial's time
    (reading, evaluating) as the pixels. Only results of the same kind of device count.
    """
    if trial.job is not None:
        return _of_program(trial, trial.job, profile, results)
    usable = [
        row for row in results if row.trial.job is None and row.steps and _on_gpu(row) == bool(profile.num_node_gpus)
    ]
    ways: tuple[tuple[Basis, Any], ...] = (("the same recipe", _recipe), ("similar trials", _kin))
    for basis, key in ways:
        wanted = key(trial, profile.num_ranks)
        like = [row for row in usable if key(row.trial, row.num_ranks) == wanted]
        if like:
            hours = median(_seconds(trial, profile, row) for row in like) / 3600
            if basis == "similar trials":
                return Estimate(hours, basis, len(like))
            peaks_mb = [row.peak_memory_mb for row in like if row.peak_memory_mb is not None]
            peak_gb = max(peaks_mb) / 1000 if peaks_mb and not profile.num_node_gpus else None
            return Estimate(hours, "the same recipe", len(like), peak_gb)
    return Estimate(None, "nothing")


def _of_program(
    trial: TrialSpec, job: ProgramSpec, profile: ClusterProfile, results: Sequence[ResultRow]
) -> Estimate:  # fmt: skip
    """A program's time is that of its earlier trials: of this very text, else of the one before it."""
    gpu = bool(profile.num_node_gpus)
    like = [row for row in results if row.trial.job is not None and row.trial.job.title == job.title]
    like = [row for row in like if not row.device.startswith(("cpu", "cuda")) or _on_gpu(row) == gpu]
    same = [row for row in like if _code(row.trial) == _code(trial)]
    if not like:
        return Estimate(None, "nothing")
    found = same or like
    basis: Basis = "the same program" if same else "similar trials"
    return Estimate(median(row.wall_s for row in found) / 3600, basis, len(found))


def _code(trial: TrialSpec) -> dict[str, str] | None:
    return None if trial.digests is None else trial.digests.code


def total_hours(estimates: Iterable[Estimate]) -> float | None:
    """The sum; None when one is unknown."""
    hours = [each.hours for each in estimates]
    return None if None in hours else math.fsum(hour for hour in hours if hour is not None)


def _seconds(trial: TrialSpec, profile: ClusterProfile, row: ResultRow) -> float:
    pixels = math.prod(trial.train.image_size) / math.prod(row.trial.train.image_size)
    pictures = trial.train.num_pictures / row.trial.train.num_pictures
    step = row.train_s / row.steps * pixels * pictures * row.num_ranks / profile.num_ranks
    rest = max(0.0, row.wall_s - row.train_s) if row.starts == 1 else 0.0
    return step * trial.train.steps + rest * pixels


def _on_gpu(row: ResultRow) -> bool:
    return not row.device.startswith("cpu")


def _recipe(trial: TrialSpec, ranks: int) -> tuple[object, ...]:
    train = trial.train
    return (
        *_kin(trial, ranks), trial.network.unfreeze_name, trial.input.mode, train.image_size, train.batch_pairs,
        train.micro_pairs, train.num_pictures, train.batch_norm, train.precision, train.pairs, ranks,
        trial.data.validate_cities,
    )  # fmt: skip


def _kin(trial: TrialSpec, ranks: int) -> tuple[object, ...]:
    return trial.network.backbone.name, trial.network.backbone.title
