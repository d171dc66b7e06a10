"""Whether the sums that probes are pooled from fit the disk, counted before anything runs and without torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from vprdist.data.tasks import tasks_of
from vprdist.errors import UserError
from vprdist.search.subset_rule import network_point
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import trials_folder

CHANNELS = {
    **dict.fromkeys(("resnet18", "resnet34"), 512), **dict.fromkeys(("resnet50", "resnet101", "resnet152"), 2048),
    "efficientnet_lite0": 1280, "vgg16": 512, "densenet121": 1024, "densenet161": 2208, "resnext101_32x8d": 2048,
}  # fmt: skip
"""Channels of the features of built-in backbones; those of others are known where torch is loaded."""
FOLDER = "probes/sums"
"""In a trial's (`probes.order`)."""


def check_sums_room(sweep: SweepSpec, resolve: Callable[[TrialSpec], TrialSpec], runs: Path) -> None:
    """What is missing of the sums of all networks fits the disk of the run folder.

    Those of a backbone or an aggregator whose numbers are not known here are left to the processes that make them.

    Args:
        resolve: gives a trial its paths and digests.

    Raises:
        UserError: it does not.
    """
    if sweep.search.probes.how != "pooled":
        return
    need, settings = 0.0, [setting for setting in sweep.settings if sweep.pools_at(setting)]
    points = [network_point(sweep, setting, seed) for setting in settings for seed in sweep.seeds]
    networks = [resolve(trial_at(sweep, point)) for point in points]
    for trial in {trial.trial_id: trial for trial in networks}.values():
        there = trials_folder(runs) / trial.trial_id / FOLDER
        made = sum(path.stat().st_size for path in there.glob("*.arrow"))
        need += max(0.0, (sums_bytes(sweep, trial) or 0) - made)
    folder = next(each for each in (runs.absolute(), *runs.absolute().parents) if each.exists())
    if need > (free := shutil.disk_usage(folder).free):
        raise no_room(runs, need, free)


def no_room(folder: Path, need: float, free: float) -> UserError:
    """Args are bytes."""
    fault = f"the sums that probes are pooled from must fit the disk, where {free / 1e9:.3g} GB are free"
    remedy = "Set search.probes.how: each, name fewer placebos, or use a run folder (--runs) on a larger disk."
    return UserError(folder, fault, f"{need / 1e9:.3g} GB", remedy)


def sums_bytes(sweep: SweepSpec, trial: TrialSpec) -> float | None:
    """What the sums of one network take: of every class, and once more for each kind of maps; None: not known here."""
    channels = CHANNELS.get(trial.network.backbone.name)
    subsets = sweep.search.subsets
    if channels is None or subsets is None or trial.network.aggregator.is_own or trial.network.scales:
        return None
    pictures = sum(len(rows) for task in tasks_of(trial) for _, rows in task.sides)
    pool = trial.network.aggregator.parameters
    if "clusters" in pool:  # each sums so many numbers: those of the features where it does not map them first
        channels = int(pool["clusters"]) * int(pool.get("out_channels", channels))
    numbers = channels + 1
    return 4 * pictures * len(trial.input.table.classes) * numbers * num_kinds(sweep)


def num_kinds(sweep: SweepSpec) -> int:
    """Kinds of maps: a picture's own, and those of placebos that are not sums of the same."""
    placebos = () if sweep.search.subsets is None else sweep.search.subsets.placebos
    return 1 + sum(kind in ("image", "random") for kind in placebos)
