"""Where the data of trials lie, and the caches that are made of them: named before they are there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from vprdist.errors import SweepFileError
from vprdist.files import digest_json
from vprdist.prepare.left_out import without_left_out
from vprdist.prepare.resolve import absolute
from vprdist.semantics import segmenting
from vprdist.semantics.order import CacheOrder
from vprdist.spec.demo import DemoSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.trial import TrialSpec

CACHE = "cache"
"""The folder of the built-in city's own cache, in the city's."""


def demo_cities(trials: Iterable[TrialSpec], runs: Path) -> dict[Path, DemoSpec]:
    """The built-in cities that trials ask for, by the folders where they are made."""
    asked = [_demo_spec(trial) for trial in trials]
    return {_demo_folder(spec, runs): spec for spec in asked if spec is not None}


def demo_folder(trial: TrialSpec, runs: Path) -> Path | None:
    """Where the built-in city of a trial lies, whether it is there or not; None for data of a person's own."""
    spec = _demo_spec(trial)
    return None if spec is None else _demo_folder(spec, runs)


def with_data(trial: TrialSpec, runs: Path) -> TrialSpec:
    """The trial with the folder of its data, whether it is there or not, and the names of what it leaves out of them.

    Raises:
        DataError: as `left_out.without_left_out`.
    """
    if trial.measures_itself:
        return trial
    spec = _demo_spec(trial)
    there = absolute(trial if spec is None else _in_demo_city(trial, spec, _demo_folder(spec, runs)))
    return without_left_out(there, checked_folder(runs))


def checked_folder(runs: Path) -> Path:
    """Where marks are left of cities whose pictures were opened."""
    return runs / "data" / "checked"


def cache_orders(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> list[CacheOrder]:
    """Every cache that the sweep's trials need and could make, whether it is there or not; no picture is opened.

    Raises:
        UserError: a segmenter's weights are not there, or two segmenters are to fill one folder.
    """
    if all(trial.input.segmenter is None for trial in sweep.trials):
        return []
    trials = [segmenting.with_cache(with_data(trial, runs), runs, profile) for trial in sweep.trials]
    return orders_for(sweep, trials, profile, runs)


def orders_for(
    sweep: SweepSpec, trials: Sequence[TrialSpec], profile: ClusterProfile, runs: Path, absent: Iterable[Path] = ()
) -> list[CacheOrder]:
    """What has to be made for these trials of a sweep, and for those that its search may still propose.

    Args:
        trials: their data and caches have folders.
        absent: folders of cities that are not made yet: nothing can be told of their caches.

    Raises:
        UserError: as `cache_orders`.
    """
    others = _of_space(sweep, profile, runs, set(absent))
    return segmenting.orders_of((*trials, *others), profile)


def _of_space(sweep: SweepSpec, profile: ClusterProfile, runs: Path, absent: set[Path]) -> list[TrialSpec]:
    """Trials of a space that need caches of their own: every combination of its values for data and input.

    The sweep's own trials try each value alone, where a segmenter may meet a mode that needs none.
    """
    axes = {axis: domain for axis, domain in sweep.search.space.items() if axis.split(".")[0] in ("data", "input")}
    found = []
    for values in itertools.product(*(domain.samples for domain in axes.values())) if axes else ():
        try:
            trial = trial_at(sweep, {**sweep.points[0], **dict(zip(axes, values, strict=True))})
        except SweepFileError:
            continue  # they do not go together: no trial either
        if demo_folder(trial, runs) not in absent:
            found.append(segmenting.with_cache(with_data(trial, runs), runs, profile))
    return [trial for trial in found if Path(trial.data.root).exists()]


def _demo_spec(trial: TrialSpec) -> DemoSpec | None:
    return (trial.data.demo or DemoSpec()) if trial.data.root == "demo" and not trial.measures_itself else None


def _demo_folder(spec: DemoSpec, runs: Path) -> Path:
    return runs / "data" / f"demo-{digest_json(spec.model_dump(mode='json'), 8)}"


def _in_demo_city(trial: TrialSpec, spec: DemoSpec, folder: Path) -> TrialSpec:
    """The trial with the paths and cities of the demo city in that folder."""
    data = trial.data.model_copy(
        update={
            "root": str(folder),
            "demo": None,
            "made_as": trial.data.demo,  # axes below it name rows
            "train": trial.data.train or spec.train,
            "validate_cities": trial.data.validate_cities or spec.validate_cities,
        }
    )
    own = trial.needs_cache and trial.input.segmenter is None
    cache = trial.input.cache or (str(folder / CACHE) if own else None)
    return trial.model_copy(update={"data": data, "input": trial.input.model_copy(update={"cache": cache})})
